"""Prefect 1's state handlers, `(task or flow, old, new) -> State or None`, as the engine calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect1.signals import PrefectStateSignal
from anabranch.compat.prefect1.states import State, of_ours, to_ours
from anabranch.engine.hooks import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Handler:
    """A handler of the user's; it gets states of Prefect 1, and what it gives becomes one of ours."""

    def __init__(self, fn: Callable[..., Any], shown: Any = None) -> None:
        self.fn = fn
        self.shown = shown
        self.__name__ = name_of(fn)

    def __call__(self, obj: Any, old: Any, new: Any) -> Any:
        before, after = of_ours(old), of_ours(new)
        try:
            answer = self.fn(obj if self.shown is None else self.shown, before, after)
        except PrefectStateSignal as signal:
            answer = signal.state
        if answer is None or answer is after:
            return None
        return to_ours(answer) if isinstance(answer, State) else answer


def handlers(given: Iterable[Callable[..., Any]] | None, shown: Any = None) -> tuple[Handler, ...]:
    """Return handlers in the form for the engine.

    Args:
        shown: what they get as the task or flow; None: what the engine has.
    """
    return tuple(one if isinstance(one, Handler) else Handler(one, shown) for one in given or ())


class OnFailure:
    """The handler that `Flow(on_failure=fn)` stands for."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.__name__ = name_of(fn)

    def __call__(self, obj: Any, _: State, new: State) -> State:
        if new.is_failed():
            self.fn(obj, new)
        return new
