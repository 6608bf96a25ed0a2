"""The way in: maps and single submits become ranges of items that may be sent."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.contracts import ErrorInfo
from anabranch.core.errors import SerializationError
from anabranch.core.events import Put, Resolve
from anabranch.core.maps import Upstream
from anabranch.core.reasons import make
from anabranch.core.stored_call import KeptCall
from anabranch.engine import causes, triggers
from anabranch.engine.assemble import PIPE, travels_along
from anabranch.engine.board import Board
from anabranch.engine.ranges import runs_of
from anabranch.engine.rows import map_row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anabranch.core.contracts import Stage
    from anabranch.core.maps import MapRun
    from anabranch.core.reasons import Reason
    from anabranch.engine.limits import Look


_NOTHING: Mapping[int, tuple[Upstream, ...]] = MappingProxyType({})


class Intake(Board):
    """Adds submission to the board."""

    # -- submission ------------------------------------------------------------------------------

    def open_map(
        self,
        map: MapRun,
        stage: Stage,
        constants: Any,
        *,
        gates: Sequence[Upstream] = (),
        length: int | None = None,
    ) -> None:
        """Take in a map: shared values go to the runner, items become ready as their inputs allow."""
        self._admit_map(map)
        map.constants_ref = stage.constants
        if map.resumable or map.options.watched:
            map.call = KeptCall(stage.binding, constants or ())
        if stage.constants is not None and map.constants_ready:
            self.out.append(Put(map.lane, stage.constants, constants))
        self.out.append(Put(map.lane, map.stage_ref, stage))
        map.depth = 1 + max((u.map.depth for u in (*map.feeds, *gates)), default=-1)
        map.limits = self.limits.names(map)
        self._map_row(map, length)
        for up in gates:
            if not up.map.finished if up.item is None else not up.map.is_terminal(up.item):
                map.gate += 1
                self.watch(up, map, None)
            if up.value:
                self.hold(up)
        if gates:
            map.item_upstreams[-1] = tuple(gates)
        for feed in dict.fromkeys(u.map for u in map.feeds):
            self.ledger.add_map_consumer(feed)
            feed.map_consumers.append(map)
            map.closed = map.closed or feed.closed
        if map.feeds:
            self.grow(map, min(len(u.map.codes) for u in map.feeds))
            map.closed = all(u.map.closed for u in map.feeds)
        elif map.kind == "map":
            self.grow(map, length or 0)
            map.closed = length is not None
        if map.refused:
            self._refuse_map(map, map.refused)
        elif map.gate == 0:
            self.gate_opened(map)

    def open_series(self, map: MapRun, stage: Stage, pipe: Stage) -> None:
        """Take in a series of single submits, still empty."""
        self._admit_map(map)
        self.out.append(Put(map.lane, map.stage_ref, stage))
        self.out.append(Put(map.lane, map.pipe_ref, pipe))
        map.limits = self.limits.names(map)
        map.closed = True  # a series is finished whenever all its items so far are
        self._map_row(map, None)

    def open_listed(self, map: MapRun, stage: Stage, items: list[tuple[Any, tuple[Upstream, ...]]]) -> None:
        """Take in a map whose items are whole calls, each with upstreams of its own."""
        self._admit_map(map)
        self.out.append(Put(map.lane, map.stage_ref, stage))
        map.limits = self.limits.names(map)
        map.closed = True
        self._map_row(map, len(items))
        self.grow(map, len(items))
        for index, (item, upstreams) in enumerate(items):
            self.append_item(map, index, item, upstreams)
            map.handles.pop(index, None)

    def open_calls(self, map: MapRun) -> None:
        """Take in a series of plain calls: they run in their caller's thread and only tell how they ended."""
        self.maps[map.id] = map
        map.began = self.now
        map.closed = True
        self._map_row(map, None)

    def call_began(self, map: MapRun, index: int) -> None:
        self.grow(map, index + 1)
        map.codes[index] = states.RUNNING

    def call_again(self, map: MapRun, index: int, message: str, error: ErrorInfo | None, reason: str) -> None:
        """An attempt of a plain call failed, and another follows in its caller's thread."""
        why = causes.of_end(map, index, states.AWAITING_RETRY, error, reason)
        self.rows.append(self.item_row(map, index, states.AWAITING_RETRY, message, error, why))
        map.attempts[index] = map.attempt(index) + 1

    def call_ended(
        self, map: MapRun, index: int, code: int, message: str, error: ErrorInfo | None, times: Any, reason: str = "",
        cache_key: str = "",
    ) -> None:  # fmt: skip
        """A plain call has ended; its value went to its caller."""
        if map.is_terminal(index):  # given up meanwhile, with the rest of its flow
            return
        map.codes[index] = code
        map.done += 1
        if message:
            map.messages[index] = message
        if error is not None:
            map.errors[index] = error
        why = causes.of_end(map, index, code, error, reason, cache_key)
        row = self.item_row(map, index, code, message, error, why)
        row.started, row.ended = times
        self.rows.append(row)
        self.ended(map, range(index, index + 1))

    def flow_ended(
        self, map: MapRun, index: int, code: int, message: str, error: ErrorInfo | None, times: Any, value: Any
    ) -> None:
        """A submitted flow has ended in its thread; its value is kept for whoever holds its future."""
        if map.is_terminal(index):
            return
        if states.is_success(code):
            self.own_value(map, index, value)
        self.call_ended(map, index, code, message, error, times)
        self.ledger.settle(map, index, index + 1)

    # -- limits of the record --------------------------------------------------------------------

    def apply_limits(self, slots: Collection[str], rates: Collection[str]) -> None:
        """Which limits of the record hold from now on, for maps that are open already too."""
        woken = self.limits.apply(slots, rates)
        for map in self.maps.values():
            map.limits = self.limits.names(map)
        for map in woken:
            self.enqueue(map)

    def look_at_limits(self) -> Look:
        return self.limits.look(self.lanes)

    def open_limits(self, places: Mapping[str, int], starts: Mapping[str, int]) -> None:
        """What may be sent under limits of the record."""
        for map in self.limits.open(places, starts):
            self.enqueue(map)

    # -- what cannot be sent ---------------------------------------------------------------------

    def cannot_send(self, lane: int, ref: int, message: str) -> None:
        """A function, stage or constants cannot be pickled: the maps that need them fail, now and later."""
        self.unsendable[ref] = message
        for map in list(self.maps.values()):
            refs = (map.spec_ref, map.stage_ref, map.pipe_ref, map.constants_ref)
            if map.lane == lane and ref in refs and not map.refused:
                self._refuse_map(map, message)

    def _refuse_map(self, map: MapRun, message: str) -> None:
        map.refused = message
        map.ready.clear()
        if map.kind == "map":
            self.close_map(map)
        self._refuse_items(map, range(len(map.codes)), message)

    def _refuse_items(self, map: MapRun, items: Sequence[int], message: str) -> None:
        error = ErrorInfo("SerializationError", message, "", exception=SerializationError(message))
        self.end_items(map, items, states.FAILED, message, error, make("unserializable"))

    def _admit_map(self, map: MapRun) -> None:
        """Known from here on; its function may be known as one that cannot be sent."""
        self.maps[map.id] = map
        map.began = self.now
        if map.parent_id:
            self.nested.setdefault(map.parent_id, []).append(map)
        if map.spec_ref in self.unsendable:
            map.refused = self.unsendable[map.spec_ref]
        self.look_at_capacity(map)

    def forget_maps(self, maps: Sequence[MapRun]) -> None:
        """A flow run has ended: its maps are of no more use here, and what workers know of them is dropped."""
        for map in maps:
            self.maps.pop(map.id, None)
            self.turned_away.pop(map.id, None)
            self.nested.pop(map.parent_id, None)
            map.forgotten, map.call = True, None
            if map.short:
                self.short.forget(map)
            if not map.running:  # else its last chunk's end drops them
                self.drop_shared(map)
            if map.kind != "map":
                counts = states.Counts(map.codes).as_dict()
                self._map_row(map, len(map.codes), counts)

    def _map_row(self, map: MapRun, length: int | None, counts: dict[str, int] | None = None) -> None:
        ended = map.ended_by(self.now) if counts is not None else None
        self.rows.append(map_row(map, length, ended, counts or {}))

    def gate_opened(self, map: MapRun) -> None:
        """All that the whole map waited for has ended: its constants can be had, or it is not admitted."""
        gates = map.item_upstreams.get(-1, ())
        problem = triggers.refusal(gates, map.options.trigger) if gates else None  # no gates: its items are asked
        if problem is not None:
            why = causes.of_refusal(map, gates)
            self._gates_read(map)
            self._turn_away(map, states.TRIGGER_FAILED, problem, why)
            return
        if not map.constants_ready:
            self.out.append(Resolve(map))
            return
        self._gates_read(map)
        self._start_items(map)

    def _gates_read(self, map: MapRun) -> None:
        for up in map.item_upstreams.pop(-1, ()):
            if up.value:
                self.let_go(up)

    def constants_ready(self, map: MapRun, value: Any) -> None:
        """The values of the map's constants have been fetched."""
        assert map.constants_ref is not None
        self.out.append(Put(map.lane, map.constants_ref, value))
        if map.call is not None:
            map.call.constants = value
        map.constants_ready = True
        self._gates_read(map)
        self._start_items(map)

    def constants_failed(self, map: MapRun, message: str) -> None:
        self._gates_read(map)
        self._turn_away(map, states.FAILED, message, make("arguments"))

    def _turn_away(self, map: MapRun, code: int, message: str, why: Reason) -> None:
        """None of the map's items begins, and none of those that its iterator, or what feeds it, has still to bring."""
        if not map.closed:
            self.turned_away[map.id] = (code, message, why)
        self.end_items(map, range(len(map.codes)), code, message, reason=why)

    def _start_items(self, map: MapRun) -> None:
        if map.feeds:
            for feed in map.feeds[:1]:
                self.admit_range(map, 0, min(len(map.codes), len(feed.map.codes)))
        elif map.source is not None and map.source.random_access:
            # Some may have been cancelled while the map was waiting.
            for lo, hi in [(0, len(map.codes))] if not any(map.codes) else self._unfinished(map):
                self.make_ready(map, lo, hi)
            self.check_finished(map)
        elif map.source is not None:
            self.enqueue(map)  # whoever waits had some of it pulled before it could begin
            self.pull(map)
        elif map.kind == "map":
            self.check_finished(map)

    def _unfinished(self, map: MapRun) -> list[tuple[int, int]]:
        return list(runs_of(i for i in range(len(map.codes)) if not map.is_terminal(i)))

    def append_item(self, map: MapRun, index: int, item: Any, upstreams: tuple[Upstream, ...]) -> None:
        """One more single submit of an open series; it may wait for upstreams."""
        if len(map.codes) == index and not map.map_consumers:
            map.codes.append(states.PENDING)
            self.ledger.grow(map)
        elif len(map.codes) <= index:
            self.grow(map, index + 1)
        map.args[index] = item
        map.handles[index] = map.handles.get(index, 0) + 1
        if map.refused:
            self._refuse_items(map, (index,), map.refused)
            return
        if map.cancelled:
            why = causes.of_cancel(map.cancelled)
            self.end_items(map, (index,), states.CANCELLED, "cancelled before it started", reason=why)
            return
        if map.short:
            self.short.add(map, index, self.now + self.capacity_timeout)
        if not upstreams:
            self.make_ready(map, index, index + 1)
            return
        self._await(map, index, upstreams)

    def _await(self, map: MapRun, index: int, upstreams: tuple[Upstream, ...]) -> None:
        """An item begins when these have ended."""
        map.item_upstreams[index] = upstreams
        waiting = 0
        for up in upstreams:
            if up.value:
                self.hold(up)
            if not (up.map.is_terminal(up.item) if up.item is not None else up.map.finished):
                waiting += 1
                self.watch(up, map, index)
        if waiting:
            map.blocked_items[index] = waiting
        else:
            self.admit_item(map, index)

    def append_links(self, map: MapRun) -> None:
        """Single submits that each take the run before them, as many as have come: as `append_item`, all at once.

        They are taken in before what stands between their events: those that they read may be unknown still.
        """
        map.links_told = False  # before the first one goes: who brings another tells of it again
        links, codes, handles, followers = map.links, map.codes, map.handles, map.followers
        plain = travels_along(map) and not (map.refused or map.cancelled or map.short or map.map_consumers)
        while links:
            index, before = links.popleft()
            first = len(codes) == index and codes[before] < states.FIRST_TERMINAL and before not in followers
            if not (plain and first) or before in map.item_consumers:
                self.ledger.grow(map)
                self.append_item(map, index, PIPE, (Upstream(map, before),))
                continue
            codes.append(states.PENDING)
            handles[index] = handles.get(index, 0) + 1
            followers[before] = index
            map.read_singly = True
        self.ledger.grow(map)

    def pulled(
        self, map: MapRun, items: Sequence[Any], exhausted: bool, error: BaseException | None,
        waited: Mapping[int, tuple[Upstream, ...]] = _NOTHING,
    ) -> None:  # fmt: skip
        """The feeder brought elements of the map's iterator; those in `waited`, by place, wait for other runs."""
        map.pulling = False
        if map.closed:  # given up while the feeder was at it: nobody counts on these any more
            return
        lo = len(map.codes)
        if items:
            self.grow(map, lo + len(items))
            for index, item in enumerate(items, lo):
                map.args[index] = item
            self._begin_pulled(map, lo, waited)
        if exhausted or error is not None:
            map.error = error
            self.close_map(map)
        else:
            self.pull(map)

    def admit_range(self, map: MapRun, lo: int, hi: int) -> None:
        if self.turned_away and map.id in self.turned_away:
            self._end_as_all(map, lo, min(hi, len(map.codes)))
        else:
            super().admit_range(map, lo, hi)

    def _end_as_all(self, map: MapRun, lo: int, hi: int) -> None:
        code, message, why = self.turned_away[map.id]
        self.end_items(map, range(lo, hi), code, message, reason=why)

    def _begin_pulled(self, map: MapRun, lo: int, waited: Mapping[int, tuple[Upstream, ...]]) -> None:
        """The items from `lo` on are there: they are ready, or wait for what they read."""
        if map.id in self.turned_away:
            self._end_as_all(map, lo, len(map.codes))
            return
        start = lo
        for place in sorted(waited):
            self.make_ready(map, start, lo + place)
            self._await(map, lo + place, waited[place])
            start = lo + place + 1
        self.make_ready(map, start, len(map.codes))

    def close_map(self, map: MapRun) -> None:
        """No more items will come."""
        map.closed = True
        for consumer in map.map_consumers:
            if not consumer.closed and all(u.map.closed for u in consumer.feeds):
                self.close_map(consumer)
        self.check_finished(map)
