"""What runs on a worker in another process for an executor: the caller's function, after the worker's set-up."""

from __future__ import annotations

import functools
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Callable

_ready: dict[str, dict[str, Any]] = {}  # by token of an executor: the variables that its initializer has bound here
_MARK = "__anabranch_set_up__"  # in a copied module: the token of the executor whose variables it was given
_FIXED = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset, ModuleType)
_setting_up = threading.RLock()


class SetUpFailed(AnabranchError):
    """Raised on a worker when an executor's initializer raised there."""


def answer(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the function of one submit."""
    return fn(*args, **kwargs)


def answer_one(fn: Callable[[Any], Any], item: Any) -> Any:
    """Call the function of a map over one iterable."""
    return fn(item)


def answer_all(fn: Callable[..., Any], items: tuple[Any, ...]) -> Any:
    """Call the function of a map over several iterables."""
    return fn(*items)


class After:
    """A function for workers that were set up: the first call in each process runs the initializer."""

    def __init__(self, call: Callable[..., Any], setup: SetUp) -> None:
        self.__name__ = call.__name__
        self._call = call
        self._setup = setup

    def __call__(self, fn: Callable[..., Any], *args: Any) -> Any:
        if self._setup.token not in _ready:
            self._setup.run()
        self._setup.give(fn)
        return self._call(fn, *args)


class SetUp:
    """An executor's initializer.

    Args:
        token: tells the executors of all programs apart.
    """

    def __init__(self, token: str, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self.token = token
        self._initializer = initializer
        self._initargs = initargs

    def run(self) -> None:
        """Set this process up, once; raises SetUpFailed."""
        with _setting_up:
            if self.token in _ready:
                return
            home = _variables(self._initializer)
            before = dict(home)
            try:
                self._initializer(*self._initargs)
            except BaseException as error:
                raise SetUpFailed(f"{type(error).__name__}: {error}") from error
            _ready[self.token] = {
                name: value for name, value in tuple(home.items())
                if name not in before or before[name] is not value or _holds_state(name, value)
            }  # fmt: skip

    def give(self, fn: Callable[..., Any]) -> None:
        """Bind what the initializer has bound in the function's module too: of a script, each came with a copy."""
        bound = _ready[self.token]
        if not bound:
            return
        home, there = _variables(self._initializer), _variables(fn)
        if there is home or there.get("__name__") != home.get("__name__") or there.get(_MARK) == self.token:
            return
        there.update(bound)
        there[_MARK] = self.token


def _holds_state(name: str, value: Any) -> bool:
    """Return whether an initializer may have changed a variable's object in place."""
    return not (name.startswith("__") or callable(value) or issubclass(type(value), _FIXED))


def _variables(fn: Any) -> dict[str, Any]:
    """Return the variables of the module of a callable; an empty dict where it has none."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    plain = getattr(fn, "__func__", fn)
    found = getattr(plain, "__globals__", None)
    return found if found is not None else getattr(type(plain).__call__, "__globals__", {})
