"""`anabranch.explain`: why task runs wait or ended as they did; live from the dispatcher, else from the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core import reasons, states
from anabranch.core.counts import Counts
from anabranch.core.errors import MissingContextError, OptionError
from anabranch.core.future_lists import FutureList
from anabranch.core.futures import Future
from anabranch.core.runs import MapRow
from anabranch.diagnosis import from_record
from anabranch.diagnosis.from_record import Because, Explanation
from anabranch.engine import standing

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.engine.standing import Standing
    from anabranch.session import Session

_OPEN = frozenset(range(states.FIRST_ENDED))


def explain(what: Any, task: str = "") -> Explanation:
    """Say why task runs wait, were skipped, cached, retried, crashed or failed: one reason a run, many in groups.

    Args:
        what: a future, a future list, a flow run of this program, or the id or name of a recorded one.
        task: of a recorded flow run, ``TASK`` or ``TASK[INDEX]``.

    Raises:
        RecordsError: there is no such run in the record.
        MissingContextError: asked on a worker: the driver knows.
        OptionError: `what` is something else.
    """
    session = sessions.current()
    if isinstance(what, str):
        return _of_run(session, what, task)
    if isinstance(what, Future):
        _check_here(what._map)
        one = _of_item(session, what._map, what._index)
        return Explanation(f"{one.task}[{one.index}]", (one,))
    if isinstance(what, FutureList):
        _check_here(what._map)
        return _of_maps(session, f"map of {what._map.spec.name!r}", [what._map])
    scope = getattr(what, "scope", None)
    if scope is None or not hasattr(scope, "endings"):
        got = f"{type(what).__name__} {what!r}"
        raise OptionError(f"explain() takes a future, a future list, a flow run or a run name, got {got}")
    return _of_maps(session, f"flow run {scope.flow_run_name!r}", list(scope.endings.maps))


def _of_run(session: Session, run: str, task: str) -> Explanation:
    """Live where this program drives the run, else from the record."""
    session.records.flush(5.0)
    scope = next((s for s in tuple(session.scopes.known.values()) if run in (s.flow_run_id, s.flow_run_name)), None)
    if scope is None:
        return from_record.explain(session.records, run, task)
    if not task:
        return _of_maps(session, f"flow run {scope.flow_run_name!r}", list(scope.endings.maps))
    row = from_record.find_run(session.records, scope.flow_run_id)
    name, nth, index = from_record.target(task)
    found = from_record.find_maps(session.records, row, name, nth)
    live = {map.id: map for map in scope.endings.maps}
    if index is None:
        return _of_maps(session, f"{name} of flow run {row.name!r}", [live[map.id] for map in found if map.id in live])
    map = live.get(from_record.only_one(row, name, found).id)
    if map is None:  # of an earlier driver
        return from_record.explain(session.records, row.id, task)
    return Explanation(task, (_of_item(session, map, index),))


def _check_here(map: MapRun) -> None:
    if not hasattr(map, "queue"):
        raise MissingContextError("explain works in the program that drives the flow; here is a worker of it")


def _of_item(session: Session, map: MapRun, index: int) -> Because:
    stands = session.pump.inspect(standing.of_item, session.pump.dispatcher.tables, map, index)
    if stands is not None:
        return _waits(session, map, stands)
    session.records.flush(5.0)
    return from_record.of_item(session.records, _row(map), index)


def _of_maps(session: Session, subject: str, maps: list[MapRun]) -> Explanation:
    parts: list[Because] = []
    for map in maps:
        groups = session.pump.inspect(standing.of_map, session.pump.dispatcher.tables, map)
        parts += [_waits(session, map, stands) for stands in groups]
    session.records.flush(5.0)
    ended = from_record.grouped(session.records, subject, [_row(map) for map in maps], skip=_OPEN)
    return from_record.joined(parts, ended)


def _waits(session: Session, map: MapRun, stands: Standing) -> Because:
    if stands.reason is None:
        return _comes_back(session, map, stands)
    word, details = stands.reason.word, reasons.details_of(stands.reason.details)
    text = reasons.sentence(word, details, waits=True)
    state = map.state(stands.first)
    name = "Running" if word == "running" and state.is_pending() else state.name
    return Because(map.spec.name, map.id, stands.first, stands.many, name, word, text, details, state.attempt)


def _comes_back(session: Session, map: MapRun, stands: Standing) -> Because:
    """Items that wait for another attempt: why the last one ended, as the record tells, and when the first goes on."""
    session.records.flush(5.0)
    found = from_record.of_item(session.records, _row(map), stands.first)
    wait = max(0.0, (stands.due or 0.0) - session.clock.monotonic())
    state = map.state(stands.first)
    text = f"{found.sentence}; attempt {map.attempt(stands.first)} begins in {wait:.1f} s"
    details = {**found.details, "begins_in": round(wait, 3)}
    return Because(
        found.task, found.map, found.index, stands.many, state.name, found.reason, text, details, found.attempt
    )


def _row(map: MapRun) -> MapRow:
    length = len(map.codes) if map.closed else None
    counts = Counts(map.codes).as_dict()
    return MapRow(map.id, map.header.flow_run_id, map.spec.name, map.kind, length, counts=counts)
