"""The fake runner's workers: what they hold, the port their chunks talk to, the faults they have."""

from __future__ import annotations

import pickle
from collections import deque
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import cloudpickle

from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.core.events import Logs, WorkerRequest
from anabranch.core.reports import ErrorInfo, Held, Inline, Outcome, Report
from anabranch.core.states import COMPLETED, FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.chunks import Chunk
    from anabranch.core.events import Event
    from anabranch.core.log_lines import LogLine
    from anabranch.core.reports import Block


@dataclass(slots=True)
class Faults:
    """How often things go wrong: probabilities per chunk, drawn from the runner's seed.

    Attributes:
        lose_worker: its worker dies while it runs: `ChunkLost`, `ValuesLost`, and a new worker joins.
        lose_engine: everything is gone when it starts.
        rerun: it is executed again after it has finished, as Dask does to recompute.
        duplicate: one of its reports arrives twice.
        late: after its worker was lost, its reports arrive all the same.
        early: it is done before `submit` returns.
        flapping: when it starts, a worker stops or begins again to take chunks.
        shuffle: events of different chunks overtake each other.
        slow_start: workers join only after the first submit.
        most: after so many faults all goes well.
    """

    lose_worker: float = 0.0
    lose_engine: float = 0.0
    rerun: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    early: float = 0.0
    flapping: float = 0.0
    shuffle: bool = False
    slow_start: bool = False
    most: int = 1_000_000


class WorkerDied(BaseException):
    """Ends a chunk's thread on a fake worker that is no more."""


class FakeWorker:
    """Holds pickled values only, so nothing in it is shared with the driver."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.blocks: dict[BlockHandle, bytes] = {}
        self.running: dict[int, FakePort] = {}
        self.loaded: dict[int, Any] = {}  # shared values, unpickled once per worker


class Engine(Protocol):
    """What a port asks of its runner."""

    def shared_data(self, shared_id: int) -> bytes: ...
    def read(self, handle: BlockHandle) -> list[Any]: ...
    def store(self, worker: FakeWorker, handle: BlockHandle, data: bytes) -> None: ...
    def send(self, port: FakePort, event: Event) -> None: ...
    def die(self, port: FakePort) -> None: ...


class FakePort:
    """The `WorkerPort` of one chunk on one fake worker."""

    in_process = False

    def __init__(self, runner: Engine, data: bytes) -> None:
        chunk: Chunk = pickle.loads(data)
        self.id = chunk.id
        self.data = data
        self.resources = chunk.resources
        self.priority = chunk.priority
        self.worker = ""
        self.on: FakeWorker | None = None
        self.keep: int | None = None
        self.cancels: frozenset[int] | None = frozenset()  # None: all
        self.lost = False  # its worker died, or the runner was closed
        self.speaks = True  # whether its reports still get out
        self.dies_at: int | None = None  # the report or item at which its worker dies
        self.ended = False
        self.blocked = 0
        self.ident = 0  # the thread that plays its worker
        self.position = -1
        self._moves = 0
        self._runner = runner

    def again(self) -> FakePort:
        """The same chunk, to be executed once more."""
        return FakePort(self._runner, self.data)

    def _move(self) -> None:
        self._moves += 1
        if self.dies_at is not None and self._moves > self.dies_at:
            self.dies_at = None
            self._runner.die(self)
        if self.lost and not self.speaks:
            raise WorkerDied

    # -- WorkerPort ------------------------------------------------------------------------------

    def shared(self, shared_id: int) -> Any:
        assert self.on is not None
        loaded = self.on.loaded
        if shared_id not in loaded:
            loaded[shared_id] = pickle.loads(self._runner.shared_data(shared_id))
        return loaded[shared_id]

    def values(self, handle: BlockHandle) -> Sequence[Any]:
        return self._runner.read(handle)

    def report(self, report: Report) -> None:
        self._move()
        assert self.on is not None
        blocks = tuple(self._keep(report, stage, block) for stage, block in enumerate(report.blocks))
        coded = replace(report, blocks=blocks, worker=self.worker)
        for outcome in coded.outcomes:
            if outcome.error is not None:
                outcome.error = replace(outcome.error, exception=None)
        self._runner.send(self, pickle.loads(cloudpickle.dumps(coded)))

    def _keep(self, report: Report, stage: int, block: Block) -> Block:
        if not isinstance(block, Inline):
            return block
        try:
            data = cloudpickle.dumps(block.values)
        except Exception:
            data = cloudpickle.dumps([_or_fail(report, stage, slot, v) for slot, v in enumerate(block.values)])
        assert self.on is not None
        self._runner.store(self.on, BlockHandle(self.id, stage, report.first), data)
        return Held(len(data))

    def limit(self, chunk: int) -> int | None:
        return 0 if self.lost else self.keep

    def cancelled(self, chunk: int, position: int) -> bool:
        return self.lost or self.cancels is None or position in self.cancels

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        self.position = position
        self._move()

    def log(self, lines: list[LogLine], dropped: int) -> None:
        self._runner.send(self, Logs(pickle.loads(cloudpickle.dumps(lines)), dropped))

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        answers: SimpleQueue[tuple[bool, bytes]] = SimpleQueue()

        def reply(ok: bool, value: Any) -> None:
            answers.put((ok, cloudpickle.dumps(value)))

        copy = pickle.loads(cloudpickle.dumps(payload))
        self._runner.send(self, WorkerRequest(chunk, position, kind, copy, reply))
        ok, data = answers.get()
        value = pickle.loads(data)
        if ok:
            return value
        raise value if isinstance(value, BaseException) else RunnerError(str(value))


def _or_fail(report: Report, stage: int, slot: int, value: Any) -> Any:
    """The value if it pickles; else None, and the position fails."""
    try:
        cloudpickle.dumps(value)
    except Exception as error:
        position = report.first + slot
        text = f"the result of type {type(value).__name__} cannot be pickled: {error}"
        report.outcomes.append(Outcome(stage, position, FAILED, text, error=ErrorInfo("SerializationError", text, "")))
        codes = [bytearray(row) for row in report.codes or [bytes([COMPLETED]) * report.count] * len(report.blocks)]
        codes[stage][slot] = FAILED
        report.codes = tuple(bytes(row) for row in codes)
        return None
    return value


def pickled(value: Any) -> bytes:
    data: bytes = cloudpickle.dumps(value)
    return data


class FakeBlocks:
    """Which worker holds which block; `release` only takes note, everything else first does what was noted."""

    def __init__(self, workers: list[FakeWorker]) -> None:
        self.released: set[BlockHandle] = set()
        self._workers = workers
        self._noted: deque[BlockHandle] = deque()

    def release(self, handles: Iterable[BlockHandle]) -> None:
        self._noted.extend(handles)

    def alive(self) -> set[BlockHandle]:
        self._do_releases()
        return {handle for worker in self._workers for handle in worker.blocks}

    def store(self, worker: FakeWorker, handle: BlockHandle, data: bytes) -> None:
        self._do_releases()
        if worker.alive and handle not in self.released:
            worker.blocks[handle] = data

    def read(self, handle: BlockHandle) -> list[Any]:
        self._do_releases()
        for worker in self._workers:
            if handle in worker.blocks:
                values: list[Any] = pickle.loads(worker.blocks[handle])
                return values
        if handle in self.released:
            raise ResultReleased(f"{handle} was released")
        raise RunnerError(f"{handle} is not here: its worker was lost, or it was never made")

    def lose(self, handles: Iterable[BlockHandle]) -> None:
        for handle in handles:
            for worker in self._workers:
                worker.blocks.pop(handle, None)

    def _do_releases(self) -> None:
        while self._noted:
            handle = self._noted.popleft()
            self.released.add(handle)
            self.lose((handle,))
