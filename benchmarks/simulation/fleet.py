"""The virtual workers: each runs a chunk as `worker.in_turn` does, and takes the next one that waits.

    driver --chunks--> waiting --first idle worker--> running --reports, by a heap of times--> driver
                                                         `--its node dies--> the driver hears of it later

A runner gives each worker a second chunk ahead, and takes it back for an idle one. So one queue stands for all workers,
and a worker loses no time between two chunks while any waits. Times are in microseconds.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import BlockHandle
from anabranch.core.events import ChunkLost
from anabranch.core.reports import Held, Packed, Report
from benchmarks.simulation.setup import NEVER, US

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy

    from anabranch.core.chunks import Chunk
    from benchmarks.simulation.driver import Driver
    from benchmarks.simulation.setup import Node, Setup

VALUE_BYTES = 64
_REPORT, _JOINS, _DIES, _TOLD = range(4)


class Flight:
    """A chunk that runs."""

    __slots__ = ("begun", "chunk", "end", "lost", "told", "took", "worker")

    def __init__(self, chunk: Chunk, worker: int, begun: int, took: array[int]) -> None:
        self.chunk = chunk
        self.worker = worker
        self.begun = self.end = begun  # the end of the last position that is looked at
        self.took = took  # by each position
        self.told = 0  # positions reported
        self.lost = False


class Fleet:
    """Moves the clock from event to event until the map has ended.

    Attributes:
        now: virtual microseconds.
        reports: that the driver got.
        lost: chunks that were lost with their worker.
        driver_busy: virtual microseconds that messages cost the driver.
    """

    def __init__(
        self, setup: Setup, work: numpy.ndarray, nodes: Sequence[Node], speeds: Sequence[int], driver: Driver
    ) -> None:
        self.now = self.reports = self.lost = self.driver_busy = 0
        self._driver = driver
        self._work = work
        self._nodes = nodes
        self._speeds = speeds
        self._heap: list[tuple[int, int, int, Any]] = []
        self._serial = 0
        self._idle: list[int] = []
        self._waiting: deque[tuple[int, Chunk]] = deque()  # since when
        self._running: dict[int, Flight] = {}  # by worker
        self._held: dict[int, list[BlockHandle]] = {}  # by worker, where its node will die
        self._latency = round(setup.latency * US)
        self._message = round(setup.message * US)
        self._free_at = 0  # when the driver has time again
        self._values = setup.values

    def run(self) -> None:
        """Run the map to its end, or until nothing happens any more, because the allocation ends."""
        for node in self._nodes:
            self._at(round(node.joins * US), _JOINS, node)
            if node.dies != NEVER:
                self._held.update((worker, []) for worker in node.workers)
                self._at(round(node.dies * US), _DIES, node)
                self._at(round(node.told * US), _TOLD, node)
        self._send(self._driver.begin())
        does: tuple[Callable[[Any], None], ...] = (self._report, self._join, self._die, self._tell)
        heap, map = self._heap, self._driver.map
        while heap and not map.finished:
            self.now, _, kind, about = heapq.heappop(heap)
            does[kind](about)

    def _at(self, when: int, kind: int, about: Any) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, kind, about))

    # -- the driver ------------------------------------------------------------------------------

    def _bring(self, move: Callable[..., Any], *args: Any) -> None:
        begun = max(self.now + self._latency, self._free_at)
        chunks = self._driver.step(begun / US, move, *args)
        self._free_at = begun + self._message
        self.driver_busy += self._message
        self._send(chunks)

    def _send(self, chunks: list[Chunk]) -> None:
        """Bring chunks to their workers, one message after another."""
        self.driver_busy += self._message * len(chunks)
        for chunk in chunks:
            self._free_at += self._message
            there = self._free_at + self._latency
            if self._idle:
                self._start(self._idle.pop(), chunk, there)
            else:
                self._waiting.append((there, chunk))

    # -- workers ---------------------------------------------------------------------------------

    def _next(self, worker: int) -> None:
        """Let a worker take what waits longest, or wait itself."""
        if self._waiting:
            there, chunk = self._waiting.popleft()
            self._start(worker, chunk, max(self.now, there))
        else:
            self._idle.append(worker)

    def _start(self, worker: int, chunk: Chunk, at: int) -> None:
        items = chunk.items
        took = self._work[items.start : items.stop] if isinstance(items, range) else self._work[list(items)]
        flight = Flight(chunk, worker, at, array("i", (took * self._speeds[worker]).tobytes()))
        self._running[worker] = flight
        self._look_ahead(flight)

    def _look_ahead(self, flight: Flight) -> None:
        """Note when the chunk reports next, and up to which position, as the worker's loop decides it."""
        took, at, end = flight.took, flight.told, flight.end
        due = end + round(flight.chunk.report_seconds * US)
        while True:
            end += took[at]
            at += 1
            final = at == len(took)
            if final or end >= due:
                break
        flight.end = end
        close = round(flight.chunk.close_seconds * US)
        self._at(end, _REPORT, (flight, at, final or (close > 0 and end - flight.begun >= close)))

    def _report(self, about: tuple[Flight, int, bool]) -> None:
        flight, upto, final = about
        if flight.lost:
            return
        chunk, first, flight.told = flight.chunk, flight.told, upto
        if final:
            del self._running[flight.worker]
            self._next(flight.worker)
        else:
            self._look_ahead(flight)
        block: Held | Packed | None = None
        if chunk.keep[0]:
            block = Held(VALUE_BYTES * (upto - first)) if self._values == "workers" else Packed(b"", 0)
            if flight.worker in self._held:
                self._held[flight.worker].append(BlockHandle(chunk.id, 0, first))
        took = flight.took[first:upto]
        report = Report(
            chunk.id, first, upto - first, final, flight.begun / US, took, took, None, [], (block,), "worker"
        )
        self.reports += 1
        self._bring(self._driver.dispatcher.reports.take_in, report)

    # -- nodes -----------------------------------------------------------------------------------

    def _tell_slots(self) -> None:
        here = [node for node in self._nodes if node.joins * US <= self.now < node.told * US]
        slots = sum(len(node.workers) for node in here)
        self._bring(self._driver.dispatcher.capacity.slots_changed, 0, slots, None)

    def _join(self, node: Node) -> None:
        for worker in node.workers:
            self._next(worker)
        if node.joins:
            self._tell_slots()

    def _die(self, node: Node) -> None:
        self._idle = [worker for worker in self._idle if worker not in node.workers]
        for worker in node.workers:
            if worker in self._running:
                self._running[worker].lost = True

    def _tell(self, node: Node) -> None:
        """Let the driver hear of a node's death: its slots, its chunks and its values are gone."""
        self._tell_slots()
        dispatcher = self._driver.dispatcher
        for worker in node.workers:
            flight = self._running.pop(worker, None)
            if flight is not None:
                self.lost += 1
                lost = ChunkLost(flight.chunk.id, "worker-lost", "its node was lost")
                self._bring(dispatcher.losses.chunk_lost, lost)
        held = tuple(handle for worker in node.workers for handle in self._held.pop(worker))
        if held and self._values == "workers":
            self._bring(dispatcher.remakes.values_lost, 0, held)
