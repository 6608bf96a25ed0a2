"""The parts that the stateful test of the dispatcher plays: an iterator, a worker that writes reports, a driver."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.chunks import Binding, Stage
from anabranch.core.instructions import (
    AskHandlers,
    AskRetry,
    CancelChunk,
    Drop,
    Free,
    Move,
    Pull,
    Put,
    Resolve,
    Rows,
    Send,
    Shorten,
    Spill,
    Wake,
)
from anabranch.core.keys import DIGEST_BYTES
from anabranch.core.maps import MapRun
from anabranch.core.previous_items import KEPT, PreviousItems
from anabranch.core.reports import ErrorInfo, Held, Inline, Outcome, Report
from anabranch.core.runs import StoredRow
from anabranch.core.task_spec import TaskSpec
from anabranch.engine.chunks import CHUNKS_PER_SLOT
from tests.unit.engine.bench import identity
from tests.unit.engine.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.maps import Upstream
    from anabranch.core.options import TaskOptions
    from anabranch.core.reports import Block
    from anabranch.engine.dispatch import Dispatcher
    from anabranch.engine.lanes import Lane

ERROR = ErrorInfo("ValueError", "no good", "")
SIZE = 100_000  # bytes of a value


class Iterator:
    """A source that cannot be counted; only the test takes from it."""

    random_access = False
    exhausted = False
    length = None

    def at(self, index: int) -> Any:
        raise AssertionError("an iterator has no places")

    def slice(self, lo: int, hi: int) -> Sequence[Any]:
        raise AssertionError("an iterator has no places")


class Flight:
    """A chunk as its worker sees it."""

    def __init__(self, chunk: Chunk, maps: list[MapRun]) -> None:
        self.chunk = chunk
        self.maps = maps
        self.told = 0  # positions reported
        self.cancelled: set[int] = set()


def written(flight: Flight, count: int, fates: list[str], final: bool, *, held: bool) -> Report:
    """A report as a worker writes it: a stage that does not complete ends its position.

    Args:
        fates: what becomes of the positions, over and over: "ok", "fail", "retry", "later" (fails in the second stage).
        held: the runner keeps the values; else they come along, each naming its map and item.
    """
    chunk, first = flight.chunk, flight.told
    rows = [bytearray([states.COMPLETED]) * count for _ in flight.maps]
    outcomes: list[Outcome] = []
    for at in range(count):
        position = first + at
        fate = fates[at % len(fates)] if position not in flight.cancelled else "cancelled"
        stage = 1 if fate == "later" and len(flight.maps) > 1 else 0
        code = {"ok": states.COMPLETED, "cancelled": states.CANCELLED}.get(fate, states.FAILED)
        attempt = chunk.attempts[position] if chunk.attempts is not None and stage == 0 else 1
        if chunk.uncounted_attempts is not None and stage == 0:
            attempt -= chunk.uncounted_attempts[position]
        if fate == "retry" and attempt <= flight.maps[stage].options.retries:
            code = states.AWAITING_RETRY
        if code == states.COMPLETED:
            continue
        rest = code if code == states.CANCELLED else states.PENDING
        for number in range(stage, len(flight.maps)):
            mine = code if number == stage else rest
            rows[number][at] = mine
            error = ERROR if mine in (states.FAILED, states.AWAITING_RETRY) else None
            outcomes.append(Outcome(number, position, mine, "told", error=error, delay=float(at)))
    blocks: list[Block] = []
    for owner, keep in zip(flight.maps, chunk.keep, strict=True):
        if not keep or not count:
            blocks.append(None)
        elif held:
            blocks.append(Held(SIZE * count))
        else:  # stages of one chunk have the same items, except single submits behind their producers
            blocks.append(Inline([(owner.id, i) for i in chunk.items[first : first + count]], SIZE * count))
    times = array("i", [1000] * count)
    codes = tuple(bytes(row) for row in rows) if outcomes else None
    stored = tuple(
        f"b{chunk.id}-{first}-{stage}" if owner.values.resumable else "" for stage, owner in enumerate(flight.maps)
    )
    return Report(chunk.id, first, count, final, 1.0, times, times, codes, outcomes, tuple(blocks), "w", stored)


class Driver:
    """Carries out what the dispatcher says, and checks that it speaks only of what exists."""

    d: Dispatcher
    lane: Lane
    held: bool
    resumable: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[MapRun] = []
        self.by_ref: dict[int, MapRun] = {}
        self.flights: dict[int, Flight] = {}
        self.gone: dict[int, Flight] = {}  # lost chunks, whose reports come too late
        self.past: list[Report] = []
        self.known: set[int] = set()  # shared ids that the runner has
        self.alive: dict[BlockHandle, tuple[MapRun, list[int]]] = {}  # blocks that the runner holds
        self.freed: set[BlockHandle] = set()
        self.nbytes: dict[BlockHandle, int] = {}
        self.seen: dict[tuple[str, int], tuple[int, int]] = {}  # code and attempt, when last looked at
        self.stopped: dict[int, Flight] = {}  # their worker was stopped, which is not told yet
        self.leaving: list[Spill | Move] = []  # blocks that are to leave memory, or to be made smaller
        self.asked: list[AskHandlers] = []  # ends that handlers look at
        self.deciding: list[AskRetry] = []  # time-outs whose retry they look at
        self.wanted: list[MapRun] = []  # have asked for elements
        self.streams: dict[str, int] = {}
        self.streamed: set[str] = set()
        self.held_lists: set[str] = set()
        self.handles: Counter[tuple[str, int]] = Counter()
        self.retries = 0  # of single runs
        self.series: MapRun | None = None
        self.other: MapRun | None = None  # a series of another task
        self.reads: dict[tuple[str, int], tuple[Upstream, ...]] = {}  # what each of their runs reads
        self.late: set[tuple[Any, ...]] = set()  # map and item of values let go of before a run came to read: its own
        self.woken: list[int] = []
        self.recorded = Recorded()

    def make(
        self, options: TaskOptions, kind: str = "map", kept: bool = True, left: AbstractSet[int] = frozenset(),
        **details: Any,
    ) -> MapRun:  # fmt: skip
        """A new map; in a resumable run an earlier driver has `left` the values of these items."""
        map = MapRun(f"m{len(self.maps)}", TaskSpec("work", identity, options), options, kind=kind, lane=0, **details)
        if self.resumable:
            map.values.resumable = True
            rows = [StoredRow(map.id, "left", sorted(left), range(len(left)))] if left else ()
            map.resume.previous = PreviousItems(rows)
            map.values.stored = map.resume.previous.places
            map.resume.keys = bytearray(5_000 * DIGEST_BYTES) if kind == "submit" else None
        if options.concurrency_limit:
            self.d.tables.limits.set("task:work", options.concurrency_limit)
        map.sending.spec_ref, map.sending.stage_ref = self.d.tables.new_ref(), self.d.tables.new_ref()
        self.by_ref[map.sending.stage_ref] = map
        self.known.add(map.sending.spec_ref)
        self.maps.append(map)
        if kind == "map" and kept:
            map.consumers.list_refs = 1
            self.held_lists.add(map.id)
        return map

    def open(self, map: MapRun, length: int | None, gates: tuple[Upstream, ...] = ()) -> None:
        stage = Stage(map.sending.spec_ref, None, Binding(args=(("item", 0),)), map.id)
        self.d.intake.open_map(map, stage, None, gates=gates, length=length)
        self.carry_out()

    def listed(self, *, sized: bool = False) -> list[MapRun]:
        """Maps that the user still has in hand, whole."""
        found = [m for m in self.maps if m.id in self.held_lists and m.id not in self.streamed]
        return [m for m in found if m.inputs.source is None or m.inputs.source.random_access] if sized else found

    def carry_out(self) -> None:
        """Do what the dispatcher says; it may only speak of what exists."""
        for one in self.d.take():
            if isinstance(one, Put):
                self.known.add(one.ref)
            elif isinstance(one, Drop):
                self.known.difference_update(one.refs)
            elif isinstance(one, Send):
                assert self.lane.in_flight - self.lane.blocked <= CHUNKS_PER_SLOT * self.lane.slots
                for chunk in one.chunks:
                    self.sent(chunk)
            elif isinstance(one, Free):
                for handle in one.handles:
                    self.free(handle)
            elif isinstance(one, CancelChunk):
                flight = self.flights.get(one.chunk) or self.stopped.get(one.chunk)
                assert flight is not None, "a chunk that nobody knows cannot be cancelled"
                assert one.positions is not None
                flight.cancelled.update(one.positions)
            elif isinstance(one, Shorten):
                assert one.chunk in self.flights or one.chunk in self.stopped, "nobody knows this chunk"
            elif isinstance(one, AskHandlers):
                if not one.map.is_terminal(one.index):  # as the pump does: a cancel may have come in the same turn
                    self.asked.append(one)
            elif isinstance(one, AskRetry):
                assert one.map.queue.delayed[one.index] == (math.inf, states.AWAITING_RETRY), "it waits for the answer"
                self.deciding.append(one)
            elif isinstance(one, Spill | Move):
                assert one.block.content is not None, "nothing is left to move"
                self.leaving.append(one)
            elif isinstance(one, Pull) and not one.count:
                assert one.map.closed, "only what is given up is let go of"
            elif isinstance(one, Pull):
                assert one.map not in self.wanted, "asked twice"
                self.wanted.append(one.map)
            elif isinstance(one, Rows):
                self.recorded.take_in(one)
            elif isinstance(one, Wake):
                for call in one.calls:
                    call()
            else:
                assert not isinstance(one, Resolve), "nothing here needs it"

    def sent(self, chunk: Chunk) -> None:
        assert chunk.id not in self.flights, "a chunk id is used once"
        assert set(chunk.stages) <= self.known, "stages are put before they are named"
        maps = [self.by_ref[ref] for ref in chunk.stages]
        assert maps[0].header.flow_run_id not in self.d.tables.halted, "nothing begins that was halted"
        self.flights[chunk.id] = Flight(chunk, maps)
        assert len(chunk) == len(chunk.args) > 0
        for handle, _ in chunk.inputs:
            assert handle in self.alive, "an input is a block that the runner has"
        for map, items in zip(maps, chunk.stage_items or (chunk.items,) * len(maps), strict=True):
            marks = b"" if map.resume.previous is None else map.resume.previous.marks
            for index in items:
                kept = index < len(marks) and marks[index] == KEPT
                assert not kept, "what an earlier driver completed does not run"
        for position, index in enumerate(chunk.items):
            assert not maps[0].is_terminal(index), "what has ended is not sent"
            for feed in maps[0].inputs.feeds:
                assert feed.map.is_terminal(index), "nothing is sent whose inputs are unfinished"
                single = len(maps[0].inputs.feeds) == 1 and states.is_success(feed.map.codes[index])
                if single and position not in chunk.wants:
                    assert chunk.args[position] == (feed.map.id, index), "an argument is its producer's value"
            if self.held and maps[0] in (self.series, self.other):
                assert len(chunk.wants.get(position, ())) == self.elsewhere(maps[0], index), "an argument was let go of"

    def elsewhere(self, map: MapRun, index: int) -> int:
        """How many values a single run reads that are on workers: all but those that handlers gave."""
        found = 0
        for up in self.reads[map.id, index]:
            for i in range(len(up.map.codes)) if up.item is None else (up.item,):
                block = up.map.values.block_of(i)
                found += states.is_success(up.map.codes[i]) and (block is None or block.held)
        return found

    def free(self, handle: BlockHandle) -> None:
        assert handle not in self.freed, "released twice"
        self.freed.add(handle)
        map, items = self.alive.pop(handle)
        for index in items:
            if not states.is_success(map.code(index)):
                continue
            block = map.values.block_of(index)
            if block is not None and block.handle != handle:
                continue  # a later attempt's value took its place
            assert not self.needed(map, index), f"{map.id}[{index}] was released before its reader ended"

    def comes_to_read(self, map: MapRun, index: int, ups: tuple[Upstream, ...]) -> None:
        """A new run of a series; what was let go of before is, where it is stored, read there."""
        self.reads[map.id, index] = ups
        for up in ups:
            for i in range(len(up.map.codes)) if up.item is None else (up.item,):
                if up.map.is_terminal(i) and up.map.values.block_of(i) is None:
                    self.late.add((up.map.id, i, map.id, index))

    def needed(self, map: MapRun, index: int) -> bool:
        """Whether somebody may still read this value."""
        if self.handles[map.id, index]:
            return True
        if map.id in self.held_lists and index >= self.streams.get(map.id, 0) and map.id not in self.streamed:
            return True
        if index in map.consumers.followers:
            return True
        for other in self.maps:
            fed = any(f.map is map for f in other.inputs.feeds)
            if fed and index < len(other.codes) and not other.is_terminal(index):
                return True
            for which, ups in other.inputs.upstreams.items():
                reads = any(u.map is map and u.value and u.item in (None, index) for u in ups)
                if (map.id, index, other.id, which) in self.late:
                    continue
                if reads and not (other.finished if which < 0 else other.is_terminal(which)):
                    return True
        return False

    def nothing_left(self) -> None:
        ledger = self.d.tables.ledger
        assert ledger.bytes_held == ledger.memory.taken == ledger.memory.leaving == 0
        assert not self.alive, "blocks that nobody will ever release"
        assert not self.d.timers.due
        assert not self.lane.runnable
        assert not self.d.tables.limits.used
        for map in self.maps:
            kept = {
                "queue": ("ready", "running", "delayed"),
                "values": ("blocks", "moved"),
                "consumers": ("future_refs", "items", "lists", "waiters", "followers"),
                "inputs": ("upstreams", "blocked"),
            }
            left = [(part, name) for part, names in kept.items() for name in names if getattr(getattr(map, part), name)]
            assert not left, f"{map.id} keeps {left}"
            assert (map.queue.sent, map.footprint.held) == (0, 0)
            assert (map.consumers.list_refs, map.consumers.unfinished_lists) == (0, 0)
            marks = b"" if map.resume.previous is None else map.resume.previous.marks
            for index in range(len(map.codes)):
                if index >= len(marks) or marks[index] != KEPT:  # else an earlier driver has recorded it
                    self.recorded.check(map, index)
        self.d.forget_maps(self.maps)
        self.carry_out()
        assert not self.d.tables.maps
        assert not self.known.intersection(r for m in self.maps for r in (m.sending.stage_ref, m.sending.pipe_ref) if r)
