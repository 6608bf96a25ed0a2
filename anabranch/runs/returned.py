"""What a flow returns: states to the rules of its final state, values to its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.errors import UnfinishedRun
from anabranch.core.futures import Future, is_future
from anabranch.core.states import State, StateSequence
from anabranch.core.walk import fill, lift

if TYPE_CHECKING:
    from collections.abc import Sequence


def resolve_returned(value: Any) -> tuple[Any, Any]:
    """A flow's return value as (what the final-state rules see, what the caller gets).

    One rule for futures, future lists and States, alone or at any depth of a collection: the caller gets values in
    their place, and where one of them did not complete, they decide how the flow ends. One alone, and a plain
    collection of nothing else, decides in any case. In `allow_failure` none of them does.

    Raises UnfinishedRun for a State that is not final.
    """
    if is_a(value, StateSequence):
        for state in value.unfinished():
            _states_of(state)
        return value, [state.result() for state in value] if _completed(value) else value
    lifted, inside = lift(value, is_future)
    if not inside:
        return value, value
    groups = [(_states_of(given), allow) for given, allow in inside]
    deciding = [ended for ended, allow in groups if not allow]
    found = deciding[0] if len(deciding) == 1 else [state for ended in deciding for state in ended]
    if not all(map(_completed, deciding)):
        return (found[0] if is_a(value, Future, State) else found), found
    values = fill(lifted, [f.result(raise_on_failure=not allow) for f, allow in inside])
    if is_a(value, Future, State):
        return found[0], values
    return (found if _nothing_else(value) else values), values


def resolve_item(value: Any) -> Any:
    """What a generator flow yields, as its reader gets it; raises what a run among it ended with."""
    lifted, inside = lift(value, is_future)
    return fill(lifted, [f.result(raise_on_failure=not allow) for f, allow in inside]) if inside else value


def _states_of(given: Any) -> Sequence[State]:
    """How what was returned ended; whatever it ended with has reached the flow's caller."""
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
        given._map.handle(index)
    return found


def _completed(found: Sequence[State]) -> bool:
    if isinstance(found, StateSequence):
        return next(found.unsuccessful(), None) is None
    return all(state.is_completed() for state in found)


def _nothing_else(value: Any) -> bool:
    """Whether this is a plain collection of runs, and of nothing besides."""
    return is_future(value) or (
        type(value) in (list, tuple, set, frozenset) and bool(value) and all(is_future(v) for v in value)
    )
