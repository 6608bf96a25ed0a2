"""One driven process runner, tasks to give it, and what is seen of its workers from outside."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import Binding, BlockHandle, Chunk, Stage
from anabranch.core.events import ChunkLost, WorkerJoined, WorkerLost
from anabranch.core.options import TaskOptions
from anabranch.core.reports import Held, Packed, Report
from anabranch.core.task_spec import TaskSpec
from anabranch.runners.process.runner import ProcessRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAIT = 30.0
SHM = Path("/dev/shm")


class Drive:
    """Drives one runner and keeps what it tells."""

    def __init__(self, **options: Any) -> None:
        self.ids = itertools.count(1)
        self.events: list[Any] = []
        self.news = threading.Condition()
        self.runner = ProcessRunner(**options)
        self.runner.start(self.sink)

    def sink(self, events: Sequence[Any]) -> None:
        with self.news:
            self.events.extend(events)
            self.news.notify_all()

    def put(self, value: Any) -> int:
        ref = next(self.ids)
        self.runner.put(ref, value)
        return ref

    def task(self, fn: Callable[..., Any], constants: tuple[Any, ...] = (), **options: Any) -> int:
        args = (("item", 0), *(("const", n) for n in range(len(constants))))
        spec = self.put(TaskSpec("task", fn, TaskOptions(**options)))
        shared = self.put(constants) if constants else None
        return self.put(Stage(spec, shared, Binding(args=args), map_id="m"))

    def chunk(self, stage: int, args: Sequence[Any], **more: Any) -> Chunk:
        return Chunk(next(self.ids), (stage,), range(len(args)), list(args), **more)

    def submit(self, stage: int, args: Sequence[Any], **more: Any) -> int:
        chunk = self.chunk(stage, args, **more)
        self.runner.submit([chunk])
        return chunk.id

    def until(self, check: Callable[[], Any]) -> None:
        with self.news:
            assert self.news.wait_for(check, WAIT), self.events[-20:]

    def seen(self, kind: type, chunk: int | None = None) -> list[Any]:
        return [e for e in list(self.events) if type(e) is kind and (chunk is None or e.chunk == chunk)]

    def ends(self, chunk: int) -> list[Any]:
        return [e for e in self.seen(Report, chunk) if e.final] + self.seen(ChunkLost, chunk)

    def end(self, chunk: int) -> Any:
        self.until(lambda: self.ends(chunk))
        [end] = self.ends(chunk)
        return end

    def values(self, chunk: int) -> list[Any]:
        assert isinstance(self.end(chunk), Report), self.end(chunk)
        found: list[Any] = []
        for report in self.seen(Report, chunk):
            for block in report.blocks:
                if isinstance(block, Packed):
                    found += block.values()
                elif isinstance(block, Held):
                    found += self.runner.fetch(BlockHandle(chunk, 0, report.first), range(report.count))
        return found

    def run(self, stage: int, args: Sequence[Any], **more: Any) -> list[Any]:
        return self.values(self.submit(stage, args, **more))

    def full(self, size: int = 2) -> None:
        """Wait until so many workers are there."""
        self.until(lambda: len(self.seen(WorkerJoined)) - len(self.seen(WorkerLost)) == size)


STRANGERS: set[str] = set()


def all_of_us() -> set[str]:
    return {f.name for f in SHM.glob(f"anabranch-{os.getpid()}-*")} if SHM.exists() else set()


def mine() -> list[str]:
    return sorted(all_of_us() - STRANGERS)


def until(check: Callable[[], Any]) -> None:
    """Wait for something that no event tells of."""
    end = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        threading.Event().wait(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def double(x: int) -> int:
    return 2 * x


def begin_then_wait(folder: str) -> Callable[[int], int]:
    def task(x: int) -> int:
        Path(folder, f"{x}.new").write_text(str(os.getpid()))
        os.rename(Path(folder, f"{x}.new"), Path(folder, str(x)))
        end = time.monotonic() + WAIT
        while not os.path.exists(os.path.join(folder, "open")) and time.monotonic() < end:
            time.sleep(0.002)
        return x

    return task


class Gate:
    def __init__(self, drive: Drive, folder: Path) -> None:
        self.folder = folder
        self.stage = drive.task(begin_then_wait(str(folder)))

    def begun(self, x: int) -> int:
        """Wait until the item runs; the pid of its worker."""
        until(lambda: (self.folder / str(x)).exists())
        return int((self.folder / str(x)).read_text())

    def open(self) -> None:
        (self.folder / "open").touch()
