"""The tables that the dispatcher's parts share: runners, maps, chunks in flight, this event's instructions."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from anabranch.engine.chunks import Pace
from anabranch.engine.lanes import Lane
from anabranch.engine.ledger import Ledger
from anabranch.engine.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Capabilities
    from anabranch.core.instructions import Instruction
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Row
    from anabranch.engine.lanes import Flight
    from anabranch.engine.walltime import Walltime


class Tables:
    """Written by the dispatcher's parts alone, under the pump's lock.

    Attributes:
        lanes: the runners.
        dirty_lanes: lanes that may have room, or something to send, since they were filled last.
        maps: all maps of open flow runs, by id.
        nested: the maps that a task run submitted, by the id of that run.
        sent: the chunks in flight, by id.
        lost_chunks: lane and accepted positions of the last lost chunks; a late report differs from a repeated one.
        paces: the cost of a task's items, by the shared id of the task.
        halted: flow runs of which nothing more may begin.
        walltime: holds back what cannot end within the allocation, where its end is known.
        out: instructions for the pump.
        rows: for the record.
        wake: calls of waiters whose wait is over.
        now: the time of the event, monotonic.
        wall: the time of the event, as the record has it.
    """

    __slots__ = (
        "_chunk_ids", "_refs", "dirty_lanes", "halted", "lanes", "ledger", "limits", "lost_chunks", "maps", "nested",
        "now", "out", "paces", "rows", "sent", "wake", "wall", "walltime",
    )  # fmt: skip

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.dirty_lanes: set[int] = set()
        self.maps: dict[str, MapRun] = {}
        self.nested: dict[str, list[MapRun]] = {}
        self.sent: dict[int, Flight] = {}
        self.lost_chunks: dict[int, tuple[int, int]] = {}
        self.paces: dict[int, Pace] = {}
        self.halted: set[str] = set()
        self.walltime: Walltime | None = None
        self.ledger = Ledger()
        self.limits = Limits()
        self.out: list[Instruction] = []
        self.rows: list[Row] = []
        self.wake: list[Callable[[], None]] = []
        self.now = 0.0
        self.wall = 0.0
        self._chunk_ids = itertools.count(1)
        self._refs = itertools.count(1)

    def add_lane(self, capabilities: Capabilities, slots: int, maximum: int | None) -> int:
        self.lanes.append(Lane(len(self.lanes), capabilities, slots, maximum))
        return len(self.lanes) - 1

    def new_ref(self) -> int:
        """Return a fresh id for a shared value."""
        return next(self._refs)

    def new_chunk_id(self) -> int:
        return next(self._chunk_ids)

    def pace(self, map: MapRun) -> Pace:
        found = self.paces.get(map.sending.spec_ref)
        if found is None:
            found = self.paces[map.sending.spec_ref] = Pace(self.lanes[map.sending.lane].capabilities.chunk_seconds)
        return found

    def enqueue(self, map: MapRun) -> None:
        """Queue the map on its lane: urgent maps first, then the deepest, then the oldest.

        Maps that running tasks submitted go before those of flows, the newest first. So few tasks wait at once where
        tasks submit tasks; each waiting one costs a worker.
        """
        if map.header.flow_run_id in self.halted:
            return
        queue, inputs = map.queue, map.inputs
        if not queue.on_lane and queue.ready and inputs.constants_ready and inputs.gate == 0 and not queue.short:
            queue.on_lane = True
            sending, nested, serial = map.sending, bool(map.header.parent_id), map.header.serial
            order = (-map.options.priority, not nested, -sending.depth, -serial if nested else serial)
            heapq.heappush(self.lanes[sending.lane].runnable, (*order, map))
            self.dirty_lanes.add(sending.lane)

    def in_flight(self, map: MapRun, lo: int, hi: int) -> set[int]:
        """Return the items of [lo, hi) that are in a chunk now."""
        found: set[int] = set()
        for chunk_id in map.queue.running:
            sent = self.sent[chunk_id]
            for stage_map, items in zip(sent.maps, sent.items, strict=True):
                if stage_map is not map:
                    continue
                first, rest = sent.reported, items[sent.reported :]
                if isinstance(rest, range) and rest.step == 1:  # called at each report, so only the overlap is visited
                    first += max(lo - rest.start, 0)
                    rest = range(max(lo, rest.start), min(hi, rest.stop))
                found.update(i for p, i in enumerate(rest, first) if lo <= i < hi and p not in sent.taken)
        return found
