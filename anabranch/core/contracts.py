"""The protocols in which the rooms meet; what travels through them stands in `chunks.py`, `reports.py`, `events.py`.

    driver                                            worker
    ------                                            ------
    dispatcher --Chunk--> Runner.submit  ~~~~~~~~~~>  worker.run_chunk(chunk, port)
        ^                                                  |  port.shared(id) port.values(handle)
        |                                                  v
        +---- events  <-- sink([...])  <~~~~~~~~~~~~  port.report(Report)

A **chunk** is a small program: items x stages. Stage 0 gets the chunk's items, each later stage
the value of the one before it, depth first. A **report** tells what became of a run of
consecutive positions of one chunk. The values it speaks of form one *block* per stage; a
**handle** names such a block, and (handle, slot) names one value. Runners know neither states
nor retries: they carry chunks down, reports up, and keep blocks until told to release them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import Event, SlotsChanged
    from anabranch.core.log_lines import LogLine
    from anabranch.core.reports import Block, Held, Report

# -- the runner ----------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Capabilities:
    """The abilities of a started runner; the dispatcher does not ask for its kind."""

    name: str
    in_process: bool = False  # tasks share the driver's objects
    values: str = "inline"  # "inline": reports bring objects; "packed": small ones come packed; "held"
    values_survive_workers: bool = True
    stops_items: bool = False  # can stop one running item (time-outs, forced cancel)
    spills: bool = False  # its values lie in this machine's memory, and it is a `SpillingRunner`
    nested: bool = False  # tasks may submit and wait
    resources: tuple[tuple[str, float], ...] = ()  # maximum of each resource known at start
    resources_elastic: bool = False  # maximum may grow
    chunk_seconds: float = 0.1  # of work in a chunk: long against the engine's overhead between two chunks


class Runner(Protocol):
    """Where chunks execute. One instance serves one driver; all methods but `fetch` return fast.

    Life: ``start`` once, then any of the others from any thread, then ``close`` once. After
    `close` returns no event is delivered. Every submitted chunk ends in exactly one final
    `Report` or one `ChunkLost`, unless the engine is lost (one `EngineLost`, then nothing).
    """

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        """Bring workers up (or find them) and begin to deliver events; raises RunnerError."""
        ...

    def slots(self) -> SlotsChanged:
        """How many chunks can run at once, now and at most."""
        ...

    def put(self, shared_id: int, value: Any) -> None:
        """Make `value` known under `shared_id` before any chunk names it; raises SerializationError."""
        ...

    def drop(self, shared_ids: Iterable[int]) -> None:
        """Forget shared values; no later chunk names them."""
        ...

    def submit(self, chunks: Sequence[Chunk]) -> None:
        """Take the chunks to run, in this order per priority. Never blocks long, never raises for a bad item."""
        ...

    def shorten(self, chunk: int, keep: int) -> None:
        """Ask the chunk to start no position from `keep` on; its final report says where it stopped."""
        ...

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        """Do not start these positions (None: all); with `force` stop a running one if the runner can."""
        ...

    def release(self, handles: Iterable[BlockHandle]) -> None:
        """Drop blocks. Idempotent, batched, legal from a finalizer: it only takes note."""
        ...

    def fetch(self, handle: BlockHandle, slots: Sequence[int]) -> list[Any]:
        """Bring values of a `Held` block here. Blocks; raises ResultReleased or RunnerError."""
        ...

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        """A task in this chunk waits for others (or goes on): lend its slot out meanwhile."""
        ...

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """End what was started; with `cancel` do not wait for running chunks. Idempotent."""
        ...


class SpillingRunner(Runner, Protocol):
    """A runner that keeps values in this machine's memory until it is told to move them.

    An engine with workers elsewhere manages its own memory and is not one. Both methods block. They raise
    ResultReleased when the block is gone, SerializationError for values that cannot be pickled, RunnerError when
    there is no room.
    """

    def spill(self, handle: BlockHandle, block: Block) -> Held:
        """Move a block from memory to disk, where `fetch` and later chunks find it under its handle."""
        ...

    def move(self, handle: BlockHandle, slots: Sequence[int], to: BlockHandle) -> Held:
        """Copy these values of a `Held` block to a block of their own; the caller releases the old one."""
        ...


class WorkerPort(Protocol):
    """The worker's half of a runner, as `worker.run_chunk` sees it."""

    worker: str
    in_process: bool

    def shared(self, shared_id: int) -> Any:
        """Return the value that was `put` under this id."""
        ...

    def values(self, handle: BlockHandle) -> Sequence[Any]:
        """Return the values of a block that `Chunk.inputs` names."""
        ...

    def report(self, report: Report) -> None:
        """Send one report; blocks of `Inline` values are encoded by the port as its runner needs."""
        ...

    def limit(self, chunk: int) -> int | None:
        """Return the position from which on nothing may start (see `shorten`), None when there is none."""
        ...

    def cancelled(self, chunk: int, position: int) -> bool:
        """Return whether this position must not be started."""
        ...

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        """Note the item that runs from now on (position -1: none), for blame and time-outs."""
        ...

    def log(self, lines: list[LogLine], dropped: int) -> None: ...

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        """Ask the driver and wait for its answer; raises the exception that the driver answers with."""
        ...


# -- time, randomness, ids -----------------------------------------------------------------------


class Clock(Protocol):
    def time(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...
