"""Prefect 1's triggers: ours, with its two others, and functions of the user's that get states by edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.compat.prefect1.signals import TRIGGERFAIL
from anabranch.compat.prefect1.states import State as OlderState
from anabranch.compat.prefect1.states import of_ours
from anabranch.core.states import State
from anabranch.engine import triggers as ours
from anabranch.engine.hooks import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def not_all_skipped(upstream: Any) -> bool:
    """Run if every upstream completed, and one of them was not skipped."""
    return ours.all_successful(upstream)


def manual_only(upstream: Any) -> bool:
    """Run when a person says so, on Prefect's server: raises NotImplementedError."""
    raise NotImplementedError(
        "anabranch has no manual_only: end the flow before the step, and call a second flow when a person has agreed"
    )


_OURS = (
    ours.all_failed, ours.all_finished, ours.all_successful, ours.any_failed, ours.any_successful, not_all_skipped,
    manual_only,
)  # fmt: skip


class Given(NamedTuple):
    """The key of an upstream's state in what a trigger gets."""

    place: int


class EdgeTrigger:
    """A trigger of the user's: a function of `{edge: state}`."""

    def __init__(self, fn: Callable[[dict[Given, OlderState]], bool]) -> None:
        self.fn = fn
        self.__name__ = name_of(fn)

    def __call__(self, upstream: Sequence[State[Any]]) -> bool:
        seen = {Given(place): _without_value(state) for place, state in enumerate(upstream)}
        try:
            return bool(self.fn(seen))
        except TRIGGERFAIL:
            return False


def _without_value(state: State[Any]) -> OlderState:
    """Return a state as Prefect 1 has it; triggers get no values."""
    bare = State(state.type, state.name, state.message, None if state.is_completed() else Exception(state.message))
    return of_ours(bare)


def engine_trigger(given: Any) -> Any:
    """Return the trigger in the form for the engine; None for the default.

    Raises NotImplementedError for `manual_only`.
    """
    if given is manual_only:
        manual_only(())
    if given in (None, ours.all_successful, not_all_skipped):
        return None
    return given if given in _OURS or isinstance(given, (EdgeTrigger, ours._Some)) else EdgeTrigger(given)
