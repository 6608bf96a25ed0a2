"""Runs whose parent is gone (its worker died, its time was over, it was cancelled) are given up with it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, settings, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.runners.process.runner import ProcessRunner
from anabranch.runners.thread.runner import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[[Any], sessions.Session]]:
    made: list[tuple[sessions.Session, Any]] = []

    def on(runner: Any) -> sessions.Session:
        here = sessions.Session(
            settings.load({}, home=tmp_path, runner=runner, progress=False), records=MemoryRecords()
        )
        made.append((here, sessions.use(here)))
        return here

    yield on
    for here, before in made:
        sessions.use(before)
        here.close()


def ran(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_children_of_a_dead_worker_do_not_run_beside_those_of_the_next_attempt(
    place: Callable[[Any], sessions.Session], tmp_path: Path
) -> None:
    place(ProcessRunner(max_workers=1))
    marks, runs = str(tmp_path / "attempts"), str(tmp_path / "runs")

    @task
    def child(attempt: int) -> int:
        with open(runs, "a") as file:
            file.write(f"{attempt} ")
        return attempt

    @task(crash_retries=2)
    def parent() -> list[int]:
        with open(marks, "a") as file:
            file.write("x")
        attempt = os.path.getsize(marks)
        futures = child.map([attempt] * 3)
        if attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)  # the one slot is its own: no child has begun
        return list(futures.result())

    @flow
    def main() -> Any:
        return parent.submit().result()

    assert main() == [2, 2, 2]
    assert ran(tmp_path / "runs") == ["2"] * 3


@pytest.mark.parametrize("make", [ThreadRunner, ProcessRunner])
def test_children_of_a_parent_out_of_time(
    place: Callable[[Any], sessions.Session], make: Any, tmp_path: Path
) -> None:
    place(make(max_workers=2))
    runs = str(tmp_path / "runs")

    @task
    def child(n: int) -> int:
        with open(runs, "a") as file:
            file.write(f"{n} ")
        time.sleep(0.2)
        return n

    @task(timeout_seconds=0.5)
    def parent() -> list[int]:
        return list(child.map(range(200), chunk=1).result())

    @flow
    def main() -> str:
        return parent.submit().wait().name

    assert main() == "TimedOut"
    assert 0 < len(ran(tmp_path / "runs")) < 40


def test_children_and_theirs_of_a_cancelled_parent(place: Callable[[Any], sessions.Session], tmp_path: Path) -> None:
    here = place(ThreadRunner(max_workers=2))
    runs = str(tmp_path / "runs")

    @task
    def leaf(n: int) -> int:
        with open(runs, "a") as file:
            file.write(f"{n} ")
        time.sleep(0.1)
        return n

    @task
    def branch(n: int) -> int:
        return sum(leaf.map(range(100), chunk=1).result())

    @task
    def root() -> int:
        return sum(branch.map(range(3), chunk=1).result())

    @flow
    def main() -> tuple[Any, ...]:
        future = root.submit()
        deadline = time.monotonic() + 20
        while not ran(tmp_path / "runs"):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        future.cancel()
        dispatcher = here.pump.dispatcher
        here.pump.inspect(int)
        maps = dispatcher.tables.maps.values()
        return future.get_state().name, [map.finished for map in maps if map.header.parent_id]

    name, finished = main()
    assert name == "Cancelled"
    assert len(finished) >= 2
    assert all(finished)
