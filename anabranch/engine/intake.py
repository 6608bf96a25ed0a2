"""The way in: maps and single submits become ranges of items that may be sent."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.errors import SerializationError
from anabranch.core.instructions import Put
from anabranch.core.maps import Upstream
from anabranch.core.reasons import make
from anabranch.core.reports import ErrorInfo
from anabranch.core.stored_call import KeptCall
from anabranch.engine import causes
from anabranch.engine.fusing import PIPE, travels_along
from anabranch.engine.rows import map_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.core.chunks import Stage
    from anabranch.core.maps import MapRun
    from anabranch.engine.board import Board
    from anabranch.engine.capacity import Capacity
    from anabranch.engine.specs import Specs


_NOTHING: Mapping[int, tuple[Upstream, ...]] = MappingProxyType({})


class Intake:
    """Takes in maps and single submits."""

    def __init__(self, board: Board, capacity: Capacity, specs: Specs) -> None:
        self._board = board
        self._tables = board.tables
        self._ledger = board.ledger
        self._capacity = capacity
        self._specs = specs

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
        map.inputs.constants_ref = stage.constants
        if map.values.resumable or map.options.watched:
            map.inputs.call = KeptCall(stage.binding, constants or ())
        if stage.constants is not None and map.inputs.constants_ready:
            self._tables.out.append(Put(map.sending.lane, stage.constants, constants))
        self._tables.out.append(Put(map.sending.lane, map.sending.stage_ref, stage))
        map.sending.depth = 1 + max((u.map.sending.depth for u in (*map.inputs.feeds, *gates)), default=-1)
        map.sending.limits = self._tables.limits.names(map)
        map.header.upstreams.update((up.map.id, None) for up in (*map.inputs.feeds, *gates))
        for up in gates:
            map.header.reads.note(0, up.map.id, up.item)
        self._tables.rows.append(map_row(map, length, None, {}))
        self._tables.rows += map.header.reads.rows(map.id)
        if gates:
            self._wait_for(map, gates)
        self._follow_feeds(map, length)
        if map.queue.refused:
            self._refuse_map(map, map.queue.refused)
        elif map.inputs.gate == 0:
            self._board.gate_opened(map)

    def _wait_for(self, map: MapRun, gates: Sequence[Upstream]) -> None:
        """Let a whole map wait for its gates, and hold the values that it reads of them."""
        for up in gates:
            if not up.map.finished if up.item is None else not up.map.is_terminal(up.item):
                map.inputs.gate += 1
                self._board.upstreams.watch(up, map, None)
            if up.value:
                self._ledger.hold(up)
        map.inputs.upstreams[-1] = tuple(gates)

    def _follow_feeds(self, map: MapRun, length: int | None) -> None:
        """Make a map a reader of its feeds, and as long as they are; one without feeds as long as it is known to be."""
        for feed in dict.fromkeys(u.map for u in map.inputs.feeds):
            self._ledger.add_map_consumer(feed)
            feed.consumers.maps.append(map)
            map.closed = map.closed or feed.closed
        if map.inputs.feeds:
            self._board.grow(map, min(len(u.map.codes) for u in map.inputs.feeds))
            map.closed = all(u.map.closed for u in map.inputs.feeds)
        elif map.kind == "map":
            self._board.grow(map, length or 0)
            map.closed = length is not None

    def open_series(self, map: MapRun, stage: Stage, pipe: Stage) -> None:
        """Take in a series of single submits, still empty."""
        self._admit_map(map)
        self._tables.out.append(Put(map.sending.lane, map.sending.stage_ref, stage))
        self._tables.out.append(Put(map.sending.lane, map.sending.pipe_ref, pipe))
        map.sending.limits = self._tables.limits.names(map)
        map.closed = True  # a series counts as finished whenever all its items so far are
        self._tables.rows.append(map_row(map, None, None, {}))

    def open_listed(self, map: MapRun, stage: Stage, items: list[tuple[Any, tuple[Upstream, ...]]]) -> None:
        """Take in a map with whole calls as items, each with upstreams of its own."""
        self._admit_map(map)
        self._tables.out.append(Put(map.sending.lane, map.sending.stage_ref, stage))
        map.sending.limits = self._tables.limits.names(map)
        map.closed = True
        self._tables.rows.append(map_row(map, len(items), None, {}))
        self._board.grow(map, len(items))
        for index, (item, upstreams) in enumerate(items):
            self.append_item(map, index, item, upstreams)
            map.consumers.future_refs.pop(index, None)

    # -- what cannot be sent ---------------------------------------------------------------------

    def cannot_send(self, lane: int, ref: int, message: str) -> None:
        """Fail the maps that need a function, stage or constants that cannot be pickled, now and later."""
        self._specs.unsendable[ref] = message
        for map in list(self._tables.maps.values()):
            refs = (map.sending.spec_ref, map.sending.stage_ref, map.sending.pipe_ref, map.inputs.constants_ref)
            if map.sending.lane == lane and ref in refs and not map.queue.refused:
                self._refuse_map(map, message)

    def _refuse_map(self, map: MapRun, message: str) -> None:
        map.queue.refused = message
        map.queue.ready.clear()
        if map.kind == "map":
            self._board.close_map(map)
        self._refuse_items(map, range(len(map.codes)), message)

    def _refuse_items(self, map: MapRun, items: Sequence[int], message: str) -> None:
        error = ErrorInfo("SerializationError", message, "", exception=SerializationError(message))
        self._board.end_items(map, items, states.FAILED, message, error, make("unserializable"))

    def _admit_map(self, map: MapRun) -> None:
        """Enter a map in the tables; turn it away if its function is known as one that cannot be sent."""
        self._tables.maps[map.id] = map
        map.header.began = self._tables.now
        map.header.slots = self._tables.lanes[map.sending.lane].slots
        if map.header.parent_id:
            self._tables.nested.setdefault(map.header.parent_id, []).append(map)
        if map.sending.spec_ref in self._specs.unsendable:
            map.queue.refused = self._specs.unsendable[map.sending.spec_ref]
        self._capacity.look(map)

    # -- constants -------------------------------------------------------------------------------

    def constants_ready(self, map: MapRun, value: Any) -> None:
        """Take in the fetched values of the map's constants."""
        assert map.inputs.constants_ref is not None
        self._tables.out.append(Put(map.sending.lane, map.inputs.constants_ref, value))
        if map.inputs.call is not None:
            map.inputs.call.constants = value
        map.inputs.constants_ready = True
        self._board.gates_read(map)
        self._board.start_items(map)

    def constants_failed(self, map: MapRun, message: str) -> None:
        self._board.gates_read(map)
        self._board.turn_away(map, states.FAILED, message, make("arguments"))

    # -- items -----------------------------------------------------------------------------------

    def append_item(self, map: MapRun, index: int, item: Any, upstreams: tuple[Upstream, ...]) -> None:
        """Take in one more single submit of an open series; it may wait for upstreams."""
        codes, consumers, queue = map.codes, map.consumers, map.queue
        if len(codes) == index and not consumers.maps:
            codes.append(states.PENDING)
            self._ledger.grow(map)
        elif len(codes) <= index:
            self._board.grow(map, index + 1)
        map.inputs.args[index] = item
        future_refs = consumers.future_refs
        future_refs[index] = future_refs.get(index, 0) + 1
        if queue.refused:
            self._refuse_items(map, (index,), queue.refused)
            return
        if queue.cancelled:
            why = causes.of_cancel(queue.cancelled)
            self._board.end_items(map, (index,), states.CANCELLED, "cancelled before it started", reason=why)
            return
        if queue.short:
            self._capacity.wait(map, index)
        if not upstreams:
            self._board.make_ready(map, index, index + 1)
            return
        self._await(map, index, upstreams)

    def _await(self, map: MapRun, index: int, upstreams: tuple[Upstream, ...]) -> None:
        """Let an item wait for these upstreams."""
        map.inputs.upstreams[index] = upstreams
        waiting, read, reads = 0, map.header.upstreams, map.header.reads
        noted = map.kind == "submit"
        for up in upstreams:
            read[up.map.id] = None
            if noted and reads.note(index, up.map.id, up.item):
                self._tables.rows += reads.rows(map.id)
            if up.value:
                self._ledger.hold(up)
            if not (up.map.is_terminal(up.item) if up.item is not None else up.map.finished):
                waiting += 1
                self._board.upstreams.watch(up, map, index)
        if waiting:
            map.inputs.blocked[index] = waiting
        else:
            self._board.admit_item(map, index)

    def append_links(self, map: MapRun) -> None:
        """Take in all waiting single submits that each read the run before them: as `append_item`, all at once.

        They are taken in before other events between theirs, so the runs that they read may be unknown still.
        """
        map.inputs.links_told = False  # before the first is taken: a thread that adds one sends an event again
        links, codes, consumers, queue = map.inputs.links, map.codes, map.consumers, map.queue
        map.header.upstreams[map.id] = None
        reads = map.header.reads
        future_refs, followers = consumers.future_refs, consumers.followers
        plain = travels_along(map) and not (queue.refused or queue.cancelled or queue.short or consumers.maps)
        while links:
            index, before = links.popleft()
            first = len(codes) == index and codes[before] < states.FIRST_ENDED and before not in followers
            if not (plain and first) or before in consumers.items:
                self._ledger.grow(map)
                self.append_item(map, index, PIPE, (Upstream(map, before),))
                continue
            codes.append(states.PENDING)
            future_refs[index] = future_refs.get(index, 0) + 1
            followers[before] = index
            if reads.note(index, map.id, before):
                self._tables.rows += reads.rows(map.id)
            consumers.read_singly = True
        self._ledger.grow(map)

    def pulled(
        self, map: MapRun, items: Sequence[Any], exhausted: bool, error: BaseException | None,
        waited: Mapping[int, tuple[Upstream, ...]] = _NOTHING,
    ) -> None:  # fmt: skip
        """Take in elements of the map's iterator from the feeder; those in `waited`, by place, wait for other runs."""
        map.inputs.pulling = False
        if map.closed:  # cancelled while the feeder pulled: these elements are dropped
            return
        lo = len(map.codes)
        if items:
            self._board.grow(map, lo + len(items))
            for index, item in enumerate(items, lo):
                map.inputs.args[index] = item
            self._begin_pulled(map, lo, waited)
        if exhausted or error is not None:
            map.error = error
            self._board.close_map(map)
        else:
            self._board.windows.pull(map)

    def _begin_pulled(self, map: MapRun, lo: int, waited: Mapping[int, tuple[Upstream, ...]]) -> None:
        """Make the items from `lo` on ready, or let them wait for their inputs."""
        if map.id in self._board.turned_away:
            self._board.end_as_all(map, lo, len(map.codes))
            return
        start = lo
        for place in sorted(waited):
            self._board.make_ready(map, start, lo + place)
            self._await(map, lo + place, waited[place])
            start = lo + place + 1
        self._board.make_ready(map, start, len(map.codes))
