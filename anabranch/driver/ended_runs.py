"""Runs that have ended elsewhere, for a scope: those of States that hold their value themselves.

    t(x, return_state=True), child(return_state=True), Completed(data=5)   --State as an argument-->   an upstream

A State that came from a future has a run already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from anabranch.core import states
from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import SerializationError, UnfinishedRun
from anabranch.core.futures import Future
from anabranch.core.keys import DIGEST_BYTES, hash_value
from anabranch.core.maps import MapRun
from anabranch.core.options import TaskOptions
from anabranch.core.previous_items import PreviousItems
from anabranch.core.reports import ErrorInfo, Inline
from anabranch.core.scopes import ScopePort
from anabranch.core.task_spec import TaskSpec
from anabranch.core.value_index import ValueBlock

if TYPE_CHECKING:
    from anabranch.core.states import State
    from anabranch.driver.program import Program
    from anabranch.driver.pump import Pump
    from anabranch.resume.keys import Resume

_NOBODY = TaskSpec("a State", lambda: None, TaskOptions())
_HANDLE = BlockHandle(0, 0, 0)


class Knowing(ScopePort, Protocol):
    """The scope that knows them."""

    program: Program
    pump: Pump
    lane: int
    resume: Resume | None


def run_of(scope: Knowing, state: State) -> tuple[MapRun, int]:
    """Return the run that a State stands for, as an upstream; raises UnfinishedRun where it is not final."""
    found = state.origin()
    if found is not None:
        return found
    if not state.is_final():
        raise UnfinishedRun(
            f"an argument is the State {state}, which is not final and has no value: wait for its run first, give its "
            "future, or the State itself in quote(...)"
        )
    map_id, _, index = state.run_id.rpartition("/")
    known: MapRun | None = scope.pump.inspect(scope.pump.dispatcher.tables.maps.get, map_id) if map_id else None
    item = int(index) if known is not None else 0
    map = ended_run(scope, state, known, item)
    if scope.resume is not None:
        map.resume.keys = _key_of(state, known, item)
        previous = None if known is None else known.resume.previous
        if known is None or known.resume.keys is None or (previous is not None and previous.holds(item)):
            map.resume.previous = PreviousItems()  # a value like this one is what it was
            map.resume.previous.offer(0, None)
    return map, 0


def _key_of(state: State, of: MapRun | None, index: int) -> bytearray | None:
    """Return the key of a State for the calls of a resumable run that read it: its run's key, else its value's."""
    if of is not None and of.resume.keys is not None:
        return of.resume.keys[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
    held = states.resolve_data(state.data) if state.is_completed() else (state.name, state.message)
    try:
        return bytearray.fromhex(hash_value(held, None, "a State's value"))[:DIGEST_BYTES]
    except SerializationError:  # it equals no other: its readers run again
        return None


def ended_run(
    scope: Knowing, state: State, of: MapRun | None = None, index: int = 0, spec: TaskSpec | None = None
) -> MapRun:
    """Make a map of one item that has ended so; it is not in the dispatcher, and not in the record.

    Args:
        of: the map of the item: its key in a resumable run is that item's, and so is a failure.
    """
    if spec is None:
        spec = _NOBODY if of is None else of.spec
    id = state.run_id or scope.program.ids.new()
    map = MapRun(id, spec, TaskOptions(), kind="call", lane=scope.lane, scope=scope)
    map.codes.append(state.code if state.code < states.ITEM_CODES else states.RUNNING)
    map.done, map.closed = 1, True
    map.consumers.list_refs = 1  # the value lives as long as the map does
    if state.message:
        map.messages[0] = state.message
    if state.is_completed():
        value = states.resolve_data(state.data)
        map.values.add(ValueBlock(_HANDLE, scope.lane, [0], Inline([value], 64), 64), overlay=True)
    elif isinstance(state.data, BaseException):
        map.errors[0] = ErrorInfo(type(state.data).__qualname__, str(state.data), "", exception=state.data)
    if of is not None:
        map.inputs.causes[0] = ((of, index),)
    return map


def left(scope: Knowing, state: State, spec: TaskSpec, cause: tuple[MapRun, int] | None = None) -> MapRun:
    """Return the run of a state that did not complete and was not raised; the state's exception belongs to that run.

    Reading it handles the failure, and so the failure that was its cause.
    """
    map = ended_run(scope, state, spec=spec)
    if cause is not None:
        map.inputs.causes[0] = (cause,)
    state.data = Future(map, 0)
    return map
