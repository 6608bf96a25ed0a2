"""The processes of a runner seen from outside, and how a test waits for them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.future_lists import FutureList

WORKERS = 2
WAIT = 60.0
SHM = Path("/dev/shm")
needs_shm = pytest.mark.skipif(not SHM.is_dir(), reason="there is no /dev/shm here")


def until(check: Callable[[], Any], seconds: float = WAIT) -> None:
    """Wait for something that no event tells of."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        pause.wait(0.005)


def until_values_are_told(runner: Any) -> None:
    """Wait until the scheduler of a `DaskRunner` takes what is in memory for values, which it never computes again."""

    def none_to_compute(dask_scheduler: Any) -> bool:
        return all(task.run_spec is None for task in dask_scheduler.tasks.values() if task.state == "memory")

    until(lambda: runner._link.client.run_on_scheduler(none_to_compute))


def running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def full(runner: ProcessRunner) -> bool:
    return sum(running(w.process.pid) for w in list(runner._workers)) == WORKERS


def later(futures: FutureList) -> list[int]:
    """The items that took more than one attempt."""
    return [i for i, state in enumerate(futures.states) if state.attempt != 1]


def assert_works(runner: ProcessRunner) -> None:
    """All workers run at once: two items, each of which waits until the other has begun."""
    until(lambda: full(runner))
    folder = runner._folder

    @task
    def meet(x: int) -> int:
        (folder / f"met-{x}").touch()
        end = time.monotonic() + WAIT
        while not (folder / f"met-{1 - x}").exists():
            assert time.monotonic() < end
        return os.getpid()

    assert len(set(meet.map(range(WORKERS), chunk=1).result(WAIT))) == WORKERS
