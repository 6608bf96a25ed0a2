"""Events: what a runner tells the driver, in lists, from any of its threads. A `core.reports.Report` is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch.core.reports import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.chunks import BlockHandle
    from anabranch.core.log_lines import LogLine


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

    handles: tuple[BlockHandle, ...]


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
