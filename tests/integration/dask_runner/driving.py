"""What a dispatcher does with one Dask runner, and tasks to give it."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import Binding, BlockHandle, Chunk, Stage
from anabranch.core.events import ChunkLost
from anabranch.core.options import TaskOptions
from anabranch.core.reports import Held, Packed, Report
from anabranch.core.task_spec import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.runners.dask.runner import DaskRunner

WAIT = 50.0
MIB = 1 << 20


def local_cluster(**options: Any) -> Any:
    """A cluster to lend, of workers with one thread each."""
    distributed = importlib.import_module("distributed")
    settings = {"threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    return distributed.LocalCluster(**{**settings, **options})


class Driver:
    """What a dispatcher does, as far as these tests need it."""

    def __init__(self, runner: DaskRunner) -> None:
        self.runner = runner
        self.ids = itertools.count(1)
        self.events: list[Any] = []
        self.reports: dict[int, list[Report]] = {}
        self.ends: dict[int, Report | ChunkLost] = {}
        self.news = threading.Condition()
        self.capabilities = runner.start(self.sink)

    def sink(self, events: Sequence[Any]) -> None:
        with self.news:
            for event in events:
                self.events.append(event)
                if isinstance(event, Report):
                    self.reports.setdefault(event.chunk, []).append(event)
                if isinstance(event, ChunkLost) or (isinstance(event, Report) and event.final):
                    assert event.chunk not in self.ends, "a chunk ended twice"
                    self.ends[event.chunk] = event
            self.news.notify_all()

    def until(self, check: Callable[[], Any]) -> None:
        with self.news:
            assert self.news.wait_for(check, WAIT), self.events[-10:]

    def task(self, fn: Callable[..., Any], constants: tuple[Any, ...] | None = None, **options: Any) -> int:
        spec, consts, stage = (next(self.ids) for _ in range(3))
        self.runner.put(spec, TaskSpec(getattr(fn, "__name__", "task"), fn, TaskOptions(**options)))
        args: tuple[tuple[str, int], ...] = (("item", 0),)
        if constants is not None:
            self.runner.put(consts, constants)
            args += tuple(("const", k) for k in range(len(constants)))
        self.runner.put(stage, Stage(spec, None if constants is None else consts, Binding(args=args), map_id="m"))
        return stage

    def chunk(self, stage: int, args: Sequence[Any], **more: Any) -> Chunk:
        return Chunk(next(self.ids), (stage,), range(len(args)), list(args), **more)

    def run(self, chunks: list[Chunk]) -> None:
        self.runner.submit(chunks)
        self.until(lambda: all(chunk.id in self.ends for chunk in chunks))

    def values(self, chunk: Chunk) -> list[Any]:
        end = self.ends[chunk.id]
        assert isinstance(end, Report), end
        found: list[Any] = []
        for report in self.reports[chunk.id]:
            [block] = report.blocks
            if isinstance(block, Packed):
                found += block.values()
            elif isinstance(block, Held):
                found += self.runner.fetch(BlockHandle(chunk.id, 0, report.first), range(report.count))
        return found

    def to_the_end(self, stage: int, args: Sequence[Any]) -> list[Any]:
        """Run the items, sending again what is lost, as the dispatcher does: halves of what was not confirmed."""
        done: dict[int, Any] = {}
        todo = [list(range(len(args)))]
        while todo:
            positions = todo.pop()
            chunk = self.chunk(stage, [args[p] for p in positions])
            self.run([chunk])
            confirmed = 0
            for report in self.reports.get(chunk.id, []):
                for k in range(report.count):
                    done[positions[report.first + k]] = (chunk.id, report, k)
                confirmed += report.count
            rest = positions[confirmed:]
            half = (len(rest) + 1) // 2
            todo += [part for part in (rest[half:], rest[:half]) if part]
        found = []
        for p in range(len(args)):
            number, report, k = done[p]
            [block] = report.blocks
            if isinstance(block, Held):
                found += self.runner.fetch(BlockHandle(number, 0, report.first), [k])
            else:
                found.append(block.values()[k])
        return found

    def keys(self) -> int:
        """How many keys of ours the scheduler knows."""

        def count(prefix: str, dask_scheduler: Any = None) -> int:
            return sum(str(key).startswith(prefix) for key in dask_scheduler.tasks)

        found: int = self.runner._link.client.run_on_scheduler(count, f"ab-{self.runner._session}")
        return found

    def seen(self, kind: type) -> list[Any]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    def until_true(self, check: Callable[[], Any]) -> None:
        pause, end = threading.Event(), time.monotonic() + WAIT
        while not check():
            assert time.monotonic() < end, "it did not come to pass"
            pause.wait(0.02)


def blob(n: int) -> bytes:
    return bytes([n % 251]) * MIB


def kill_once(marker: str, at: int) -> Callable[[int], int]:
    def task(x: int) -> int:
        if x == at and not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return x * 2

    return task
