"""The protocols in which the rooms meet, and the words that travel through them.

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

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from anabranch.core.log_lines import LogLine as LogLine  # noqa: TC001 - senders of lines import it from here
from anabranch.core.task_spec import TaskSpec as TaskSpec

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Sequence
    from contextvars import Context

    from anabranch.core.log_lines import Wanted
    from anabranch.core.runs import StoredRow
    from anabranch.core.stores import ResultStore, StoreProbe

# -- downwards: what a worker is asked to do -----------------------------------------------------


class Handle(NamedTuple):
    """Names the block of values that one report made for one stage."""

    chunk: int
    stage: int
    first: int  # position in the chunk of the block's slot 0


@dataclass(slots=True, frozen=True)
class Binding:
    """How an item becomes a call's arguments.

    `args` and `kwargs` values are either ``("item", k)`` - the k-th mapped element, or the item
    itself when `width` is 1 - or ``("const", k)``, the k-th constant of the stage. With `star`
    the item is a ready ``(args, kwargs)`` pair, as single submits send.
    """

    args: tuple[tuple[str, int], ...] = ()
    kwargs: tuple[tuple[str, tuple[str, int]], ...] = ()
    width: int = 1
    star: bool = False


class ItemContexts(Protocol):
    """The context variables that the items of a map carry, see `core.carried`."""

    def at(self, index: int) -> Context: ...
    def of_all(self, items: Any) -> Context | None: ...


@dataclass(slots=True)
class Stage:
    """One task over one map, as a worker needs it: put once per worker and map."""

    spec: int  # shared id of the TaskSpec
    constants: int | None  # shared id of the tuple of constants, None when there are none
    binding: Binding
    map_id: str
    flow_run_id: str = ""
    flow_run_name: str = ""
    parent_id: str = ""  # the task run that submitted this map from its worker
    tags: tuple[str, ...] = ()
    run_name: str = ""  # template of the items' names
    parameters: dict[str, Any] | None = None  # the flow's, only where the cache policy asks for them
    log_prints: bool = False  # the flow's; the task's own option wins
    kind: str = "map"  # "map" or "submit"
    level: int = 20  # log level below which lines stay on the worker
    store: ResultStore | None = None  # of a resumable run: for its values, and for inputs from an earlier driver
    probe: StoreProbe | None = None
    bare: bool = False  # values are not stored: they will not be read
    hashed: tuple[int, ...] | None = None  # columns of an item to digest; (): the item itself; None: no digest
    wanted: Wanted | None = None  # levels of the program's own loggers that the worker forwards
    carried: ItemContexts | None = None  # in the driver's process: the contexts of its items
    plan: Any = None  # `worker.stages.StagePlan`: made by a worker at first use, for all its chunks


@dataclass(slots=True)
class Chunk:
    """Items x stages in one engine call.

    Attributes:
        id: unique in the program, never used again.
        stages: shared ids of `Stage`s, run depth first.
        items: the index in its map of each position.
        args: one argument item per position; positions may hold `core.walk.Hole`s.
        attempts: attempt number per position (stage 0); later stages begin at 1.
        uncounted_attempts: per position, earlier attempts not counted against the user's retries; None: all count.
        inputs: blocks that the items read; ``Hole(n)`` in position p stands for
            ``inputs[wants[p][n]]``, where that is negative for ``saved[-1 - wants[p][n]]``.
        saved: for inputs that no runner holds any more, block of the result store and slot.
        keep: for each stage, whether its values are to be kept (False: dropped on the worker).
        inline_limit: values of at most this many bytes may come home inside the report.
        close_bytes, close_seconds: the worker ends the chunk at that size of kept values, or that age (0: at none).
        report_seconds: at least so much time lies between two reports of the running chunk.
        resources: what one position needs while it runs; empty for one slot.
        stage_items: `items` for each stage, where they differ; empty where all are alike.
    """

    id: int
    stages: tuple[int, ...]
    items: Sequence[int]
    args: Sequence[Any]
    attempts: Sequence[int] | None = None
    uncounted_attempts: Sequence[int] | None = None
    inputs: tuple[tuple[Handle, int], ...] = ()
    wants: dict[int, tuple[int, ...]] = field(default_factory=dict)
    keep: tuple[bool, ...] = (True,)
    inline_limit: int = 1024
    close_bytes: int = 4 << 20
    close_seconds: float = 0.0
    priority: int = 0
    resources: dict[str, float] = field(default_factory=dict)
    timeout: float | None = None  # the longest `timeout_seconds` of its stages
    flow_run_id: str = ""
    stage_items: tuple[Sequence[int], ...] = ()
    saved: tuple[tuple[str, int], ...] = ()
    report_seconds: float = 0.1

    def __len__(self) -> int:
        return len(self.items)


# -- upwards: what a worker tells ----------------------------------------------------------------


@dataclass(slots=True)
class ErrorInfo:
    """An exception as it travels and is kept: always as text, as an object if it survives pickling; no frames."""

    type_name: str
    message: str
    traceback: str
    pickled: bytes | None = None
    exception: BaseException | None = None  # set where no process border is crossed


@dataclass(slots=True)
class Inline:
    """A block's values as Python objects (same process); failed positions hold None."""

    values: list[Any]
    nbytes: int = 0


@dataclass(slots=True)
class Packed:
    """A block's values, small enough to live in the driver: one pickled list, or one pickle each."""

    data: bytes
    nbytes: int = 0
    ends: array[int] | None = None  # where the pickle of each value ends; None: one list

    def values(self) -> list[Any]:
        """Return all values; raises the exception of the first that does not unpickle."""
        if self.ends is None:
            return pickle.loads(self.data)  # type: ignore[no-any-return]
        return [self.value(slot) for slot in range(len(self.ends))]

    def value(self, slot: int) -> Any:
        """Return one value, where each has a pickle of its own; raises the exception of unpickling it."""
        assert self.ends is not None, "one list is read as a whole"
        return pickle.loads(memoryview(self.data)[self.ends[slot - 1] if slot else 0 : self.ends[slot]])


@dataclass(slots=True)
class Held:
    """A block that the runner keeps; read it with `Runner.fetch`."""

    nbytes: int = 0


Block = Inline | Packed | Held | None


@dataclass(slots=True)
class Outcome:
    """The result of one (stage, position) that did not simply complete."""

    stage: int
    position: int
    code: int  # a code of core.states: FAILED, TIMED_OUT, CACHED, AWAITING_RETRY, CANCELLED, ...
    message: str = ""
    name: str = ""  # a name of the user's own, when a returned or replaced state has one
    error: ErrorInfo | None = None
    delay: float = 0.0  # seconds until the next attempt, with AWAITING_RETRY or AWAITING_CACHE
    cache_key: str = ""
    reason: str = ""  # a code word of core.reasons, where code and error do not tell it


@dataclass(slots=True)
class Report:
    """The results of positions [first, first + count) of a chunk.

    In the happy path `codes` is None (all stages of all positions Completed) and `outcomes` is
    empty. `final` ends the chunk: positions from `first + count` on were not started and go back
    uncounted. `started` and `durations` are microseconds, of stage 0's start (from `base`) and
    of the whole position.
    """

    chunk: int
    first: int
    count: int
    final: bool
    base: float = 0.0  # Unix seconds of the chunk's start, by the worker's clock
    started: array[int] | None = None
    durations: array[int] | None = None
    codes: tuple[bytes, ...] | None = None  # per stage, one code a position
    outcomes: list[Outcome] = field(default_factory=list)
    blocks: tuple[Block, ...] = ()  # per stage
    worker: str = ""
    stored: tuple[str, ...] = ()  # per stage, the stored block in which slot n is position `first + n`; "" for none
    digests: bytes = b""  # of the positions' inputs, `core.keys.DIGEST_BYTES` each, where the stage asks for them
    notes: list[StoredRow] = field(default_factory=list)  # stored inputs of items that failed


# Events: what `sink` is called with, in lists, from any thread of the runner. A `Report` is one.


@dataclass(slots=True)
class ChunkStarted:
    """A worker has begun the chunk. Runners outside this process send it; nothing waits for it.

    Of a chunk without it, and without a report, no item counts as one that the end of a walltime has interrupted.
    """

    chunk: int
    worker: str = ""


@dataclass(slots=True)
class ChunkLost:
    """The chunk ended without a final report; positions not yet reported were not finished.

    `suspects` are the positions that may have caused it (None: unknown), at their stage `stage`; with
    `alone` the death happened while a suspect was the only thing running there, and counts against it.
    """

    chunk: int
    reason: str  # worker-lost, out-of-memory, unserializable, engine-lost, stopped (written off, or closed)
    message: str = ""
    suspects: tuple[int, ...] | None = None
    alone: bool = False
    stage: int = 0


@dataclass(slots=True)
class ItemTimedOut:
    """The position ran past its time and was stopped or written off. The chunk goes on, or a ChunkLost follows."""

    chunk: int
    stage: int
    position: int
    seconds: float


@dataclass(slots=True)
class ItemCancelled:
    """A running position was stopped by `cancel(..., force=True)`."""

    chunk: int
    position: int


@dataclass(slots=True)
class ValuesLost:
    """Blocks the runner held are gone."""

    handles: tuple[Handle, ...]


@dataclass(slots=True)
class SlotsChanged:
    """How many chunks can run at once, now and at most (None: unknown).

    `offers` is the most of each resource that one worker has, where it may have changed (None: it has not).
    """

    now: int
    maximum: int | None = None
    offers: dict[str, float] | None = None


@dataclass(slots=True)
class WorkerJoined:
    worker: str


@dataclass(slots=True)
class WorkerLost:
    worker: str
    reason: str = ""


@dataclass(slots=True)
class Logs:
    lines: list[LogLine]
    dropped: int = 0
    chunk: int = 0  # the chunk that logged them, where the runner knows


ASK, WAIT = "ask", "wait"  # kinds of requests: answered at once, or when another task has ended


@dataclass(slots=True)
class WorkerRequest:
    """A worker's running task asks the driver for something (nested submit, wait, result, slot).

    `reply` is called once, from any thread, with (ok, payload). `kind` is for the runner: where the engine gives places
    out, and not the driver, a task that waits leaves its own to others.
    """

    chunk: int
    position: int
    kind: str
    payload: Any
    reply: Callable[[bool, Any], None]


@dataclass(slots=True)
class EngineLost:
    reason: str


Event = (
    Report
    | ChunkStarted
    | ChunkLost
    | ItemTimedOut
    | ItemCancelled
    | ValuesLost
    | SlotsChanged
    | WorkerJoined
    | WorkerLost
    | Logs
    | WorkerRequest
    | EngineLost
)
Sink = "Callable[[Sequence[Event]], None]"

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

    def release(self, handles: Iterable[Handle]) -> None:
        """Drop blocks. Idempotent, batched, legal from a finalizer: it only takes note."""
        ...

    def fetch(self, handle: Handle, slots: Sequence[int]) -> list[Any]:
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

    def spill(self, handle: Handle, block: Block) -> Held:
        """Move a block from memory to disk, where `fetch` and later chunks find it under its handle."""
        ...

    def move(self, handle: Handle, slots: Sequence[int], to: Handle) -> Held:
        """Copy these values of a `Held` block to a block of their own; the caller releases the old one."""
        ...


class WorkerPort(Protocol):
    """The worker's half of a runner, as `worker.run_chunk` sees it."""

    worker: str
    in_process: bool

    def shared(self, shared_id: int) -> Any:
        """Return the value that was `put` under this id."""
        ...

    def values(self, handle: Handle) -> Sequence[Any]:
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
