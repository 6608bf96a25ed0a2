"""Items with a time limit on Ray: they run in children of the actors, and are stopped without harm to these."""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import RayRunner, flow, get_run_logger, settings, task
from anabranch import session as sessions
from anabranch.core.errors import TaskTimeoutError
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180), pytest.mark.sampled(5, "a Ray of the file's own", whole=True)]
LONG = 100.0
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sessions.Session]:
    chosen = settings.load({}, home=tmp_path_factory.mktemp("home"), runner=RayRunner(num_cpus=2), progress=False)
    here = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(here)
    yield here
    sessions.use(before)
    here.close()


def actors() -> set[int]:
    """Pids of the workers, all of which take part in a map of short sleeps."""

    def slow(x: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    @flow
    def look() -> set[int]:
        return set(task(slow).map(range(20)).result())

    return look()


def stuck_in_c(x: int) -> int:
    """Holds the interpreter's lock for ever."""
    if x == 13:
        ctypes.PyDLL(None).sleep(100)
    return x


def asleep(x: int) -> int:
    if x == 13:
        time.sleep(LONG)
    return x


@pytest.mark.parametrize("fn", [asleep, stuck_in_c])
def test_an_item_past_its_limit_is_stopped_and_its_worker_lives(fn: Callable[[int], int]) -> None:
    before = actors()

    @flow
    def main() -> Any:
        found = task(fn, timeout_seconds=0.5).map([1, 13, 2, 3])
        found.wait()
        with pytest.raises(TaskTimeoutError):
            found[1].result()
        return [found[i].result() for i in (0, 2, 3)], found[1].state.name

    begun = time.monotonic()
    assert main() == ([1, 2, 3], "TimedOut")
    assert time.monotonic() - begun < LONG / 2
    assert actors() == before


def test_values_logs_inputs_and_children_of_a_timed_item(session: sessions.Session) -> None:
    def body(parts: list[int], big: bytes) -> Any:
        get_run_logger().warning("heard from a child")
        more = task(lambda x: 2 * x).map(parts).result()
        return sum(more), len(big), os.getpid(), bytearray(MIB)

    @flow
    def main() -> Any:
        made = task(lambda x: bytes(x)).submit(3 * MIB)
        found = task(body, timeout_seconds=LONG).submit([1, 2, 3], made)
        total, size, pid, value = found.result()
        return total, size, pid, len(value)

    total, size, pid, length = main()
    assert (total, size, length) == (12, 3 * MIB, MIB)
    assert pid not in actors()
    session.flush_records()
    lines = [line.message for run in session.records.flow_runs() for line in session.records.logs(run.id)]
    assert "heard from a child" in lines


def test_a_cancel_stops_what_runs(tmp_path: Path) -> None:
    mark = tmp_path / "begun"

    def task_body(x: int) -> int:
        mark.touch()
        time.sleep(LONG)
        return x

    @flow
    def main() -> str:
        future = task(task_body, timeout_seconds=2 * LONG).submit(1)
        end = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < end:
            time.sleep(0.01)
        future.cancel()
        future.wait()
        return str(future.state.name)

    before = actors()
    begun = time.monotonic()
    assert main() == "Cancelled"
    assert time.monotonic() - begun < LONG / 2
    assert actors() == before
