"""The final state of a flow run, from its function's return value: the first rule that applies.

1 the function raised           FAILED with the exception
2 reference tasks are set       by their runs
3 states or futures returned    by those
4 data returned                 COMPLETED (unhandled failures: a warning, FAILED when strict)
5 None returned                 by all task runs: any unhandled failure fails the flow
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.states import Cancelled, Completed, Failed, State, StateSequence, StateType

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True, frozen=True)
class Runs:
    """The task runs of a flow run, as far as the rules need them."""

    total: int = 0
    unhandled: int = 0
    first_error: BaseException | None = None
    first: str = ""  # the name of that run, and its error's type


def states_in(value: Any) -> Sequence[State] | None:
    """Return the states that a return value consists of; None when it is data."""
    if is_a(value, State):
        return [value]
    if is_a(value, StateSequence):
        return value or None
    if type(value) in (list, tuple, set, frozenset) and value and all(is_a(v, State) for v in value):
        return list(value)
    return None


def bundle(found: Sequence[State], data: Any) -> State:
    """Return one state for several: Completed only if all are."""
    total = len(found)
    types = found.types() if isinstance(found, StateSequence) else Counter(s.type for s in found)
    cancelled = types.get(StateType.CANCELLED, 0)
    bad = total - types.get(StateType.COMPLETED, 0)
    if not bad:
        return Completed("All states completed.", data)
    if cancelled:
        return Cancelled(f"{cancelled}/{total} states cancelled.", data)
    return Failed(f"{bad}/{total} states failed.", data)


def decide(value: Any, runs: Runs, *, reference: list[State] | None = None, strict: bool = False) -> State:
    """Return the final state of a flow run for its function's return value.

    Args:
        value: the return value; futures alone, or in a plain collection of futures, are replaced by states before,
            others by values.
        runs: the task runs.
        reference: states of the reference tasks' runs, None when none are set.
        strict: unhandled failures fail the flow even when data was returned.
    """
    if reference is not None:
        state = bundle(reference, value)
        if state.is_completed():
            return Completed("All reference tasks succeeded.", value)
        return Failed("Some reference tasks failed.", _first(reference))
    found = states_in(value)
    if found is not None:
        state = found[0] if is_a(value, State) else bundle(found, value)
        return state
    if value is None and runs.unhandled:
        return Failed(_told(runs), runs.first_error)
    if runs.unhandled and strict:
        return Failed(f"{_told(runs)} (strict)", runs.first_error)
    return Completed("", value)


def _told(runs: Runs) -> str:
    """Return how many runs failed, and the first of them."""
    first = f"; first: {runs.first}" if runs.first else ""
    return f"{runs.unhandled:,} of {runs.total:,} task runs failed{first}"


def _first(found: Sequence[State]) -> Any:
    bad = next((s for s in found if not s.is_completed()), None)
    return bad.exception() if bad is not None else None
