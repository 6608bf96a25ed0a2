"""What runs on the worker round a task's function: skips that come from upstream, and signals.

    an upstream was skipped            the run is skipped
    the function raises SKIP           the run is skipped
                        SUCCESS        its result is the value
                        LOOP           the function runs again
                        anything else  the run fails, and may be tried again
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect1 import signals
from anabranch.compat.prefect1.running import About, Round, within
from anabranch.compat.prefect1.states import Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UPSTREAM = "_upstream"
DEEP = "_deep"


class Carrier:
    """A task's function as a graph runs it; its first two arguments are the graph's.

    Args:
        skipped_by: "any" skipped upstream skips it, "all" of them, or "none"; a skipped value is None then.
        about: what the function may read of its flow.
    """

    def __init__(self, fn: Callable[..., Any], name: str, skipped_by: str = "any", about: About | None = None) -> None:
        self.fn = fn
        self.about = about or About()
        self.skipped_by = skipped_by
        self.__name__ = self.__qualname__ = name
        self.__doc__ = fn.__doc__
        self.__signature__ = _signature(fn)

    def __call__(self, _upstream: tuple[Any, ...], _deep: frozenset[int | str], /, *args: Any, **kwargs: Any) -> Any:
        """Run the function.

        Args:
            _upstream: the values of what it waits for and does not read.
            _deep: the places and names of arguments that are collections of upstreams' values.
        """
        named: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        values = [*_values(_upstream), *(one for key, value in named for one in _values(value, key in _deep))]
        skips = [one for one in values if isinstance(one, Skip)]
        if skips:
            if self.skipped_by == "any" or (self.skipped_by == "all" and len(skips) == len(values)):
                return Skip("an upstream was skipped; with skip_on_upstream_skip=False the task runs all the same")
            args = tuple(_unskipped(one, at in _deep) for at, one in enumerate(args))
            kwargs = {name: _unskipped(one, name in _deep) for name, one in kwargs.items()}
        return _signalled(self.fn, self.about, args, kwargs)


def _signalled(fn: Callable[..., Any], about: About, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    count, result = 1, None
    while True:
        try:
            with within(Round(about, count, result)):
                return fn(*args, **kwargs)
        except signals.SKIP as signal:
            return Skip(signal.message or "")
        except signals.SUCCESS as signal:
            return signal.given["result"]
        except signals.LOOP as signal:
            count, result = count + 1, signal.given["result"]
        except signals.PAUSE as signal:
            raise NotImplementedError(
                "anabranch has no PAUSE: end the flow, and go on with `anabranch resume`"
            ) from signal


def _values(value: Any, deep: bool = True) -> Iterator[Any]:
    if deep and isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _values(one)
    elif deep and isinstance(value, dict):
        for one in value.values():
            yield from _values(one)
    else:
        yield value


def _unskipped(value: Any, deep: bool) -> Any:
    if isinstance(value, Skip):
        return None
    if deep and type(value) in (list, tuple, set, frozenset):
        return type(value)(_unskipped(one, True) for one in value)
    if deep and isinstance(value, dict):
        return {name: _unskipped(one, True) for name, one in value.items()}
    return value


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    hidden = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in (UPSTREAM, DEEP)]
    try:
        own = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        own = list(inspect.signature(lambda *args, **kwargs: None).parameters.values())
    # Nothing before the graph's two arguments may have a default.
    return inspect.Signature([*hidden, *own])
