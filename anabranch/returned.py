"""What a flow returns: states to the rules of its final state, values to its caller."""

from __future__ import annotations

from typing import Any

from anabranch.core.futures import Future, FutureList
from anabranch.core.states import State
from anabranch.core.walk import fill, lift
from anabranch.scope import is_future


def resolve_returned(value: Any) -> tuple[Any, Any]:
    """A flow's return value as (what the final-state rules see, what the caller gets).

    Futures alone, or a plain collection of nothing but futures, are states to the rules and values
    to the caller, and so is a state alone; futures inside other data are values to both.
    """
    if isinstance(value, State) and value.is_completed():
        return value, value.result()
    if isinstance(value, Future):
        state = value.wait()
        return state, value.result() if state.is_completed() else None
    if isinstance(value, FutureList):
        found = value.wait()
        good = not value.failed() and value._map.error is None
        if value._map.error is not None:
            raise value._map.error
        _mark(value, found)
        return found or [], value.result() if good else found
    if isinstance(value, (list, tuple, set, frozenset)) and value and all(isinstance(v, Future) for v in value):
        found = [f.wait() for f in value]
        if all(s.is_completed() for s in found):
            return found, type(value)(f.result() for f in value)
        return found, found
    lifted, inside = lift(value, is_future)
    if inside:
        value = fill(lifted, [f.result(raise_on_failure=not allow) for f, allow in inside])
    return value, value


def _mark(futures: FutureList, found: list[State]) -> None:
    for index in futures.failed():
        found[index].data = futures[index].exception()
