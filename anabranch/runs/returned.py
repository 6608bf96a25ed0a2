"""The return value of a flow: states for the rules of its final state, values for its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.errors import UnfinishedRun
from anabranch.core.future_lists import is_future
from anabranch.core.futures import Future
from anabranch.core.outcomes import outcome
from anabranch.core.states import State, StateSequence
from anabranch.core.walk import fill, lift

if TYPE_CHECKING:
    from collections.abc import Sequence


def resolve_returned(value: Any) -> tuple[Any, Any]:
    """Split a flow's return value into (the input of the final-state rules, the value for the caller).

    One rule holds for futures, future lists and States, alone or at any depth of a collection. The caller gets values
    in their place. If one of them did not complete, they decide the flow's final state. A single one, or a plain
    collection of nothing else, decides in any case. One in `allow_failure` never does.

    Raises UnfinishedRun for a State that is not final.
    """
    if is_a(value, StateSequence):
        for state in value.unfinished():
            _states_of(state)
        return value, [outcome(state) for state in value] if _completed(value) else value
    lifted, inside = lift(value, is_future)
    if not inside:
        return value, value
    groups = [(_states_of(given), allow) for given, allow in inside]
    deciding = [ended for ended, allow in groups if not allow]
    found = deciding[0] if len(deciding) == 1 else [state for ended in deciding for state in ended]
    if not all(map(_completed, deciding)):
        return (found[0] if is_a(value, Future, State) else found), found
    values = fill(lifted, [outcome(f, not allow) for f, allow in inside])
    if is_a(value, Future, State):
        return found[0], values
    return (found if _nothing_else(value) else values), values


def resolve_item(value: Any) -> Any:
    """Return a yielded item with values in place of runs; raises the exception of a run that did not complete."""
    lifted, inside = lift(value, is_future)
    return fill(lifted, [outcome(f, not allow) for f, allow in inside]) if inside else value


def _states_of(given: Any) -> Sequence[State]:
    """Return the final states of a returned run or list, and mark its failures as handled."""
    if isinstance(given, State):
        if not given.is_final():
            raise UnfinishedRun(f"the flow returned the State {given}, which is not final: return its run's future")
        return [given]
    if isinstance(given, Future):
        return [given.wait()]
    found: StateSequence = given.wait()
    if given._map.error is not None:
        raise given._map.error
    for index in given.failed():
        given._map.mark_handled(index)
    return found


def _completed(found: Sequence[State]) -> bool:
    if isinstance(found, StateSequence):
        return next(found.unsuccessful(), None) is None
    return all(state.is_completed() for state in found)


def _nothing_else(value: Any) -> bool:
    """Return whether this is a plain collection of runs and of nothing else."""
    return is_future(value) or (
        type(value) in (list, tuple, set, frozenset) and bool(value) and all(is_future(v) for v in value)
    )
