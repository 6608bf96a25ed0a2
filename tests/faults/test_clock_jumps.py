"""The wall clock is set an hour on, or back, in the midst of a run (fault test 9): nothing is early or negative."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, ThreadRunner, flow, task
from anabranch import session as sessions
from anabranch.core.policies import INPUTS
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import FlowRunRow
from anabranch.core.states import RUNNING
from anabranch.records.memory import MemoryRecords
from anabranch.records.sqlite import SqliteRecords
from anabranch.results.disk import DiskStore
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.workers import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled(3, "each starts programs under another clock")
HOUR = 3600.0


class Clock:
    """The real clock, whose wall time can be set; with it both times can be moved on."""

    def __init__(self) -> None:
        self.set_by = 0.0
        self.passed = 0.0

    sleep = staticmethod(time.sleep)

    def time(self) -> float:
        return time.time() + self.passed + self.set_by

    def monotonic(self) -> float:
        return time.monotonic() + self.passed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[HOUR, -HOUR], ids=["on", "back"])
def jump(request: pytest.FixtureRequest, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Set the clock: the injected one, and that of everything in this process that reads the time itself."""
    real = time.time

    def set_clock() -> None:
        clock.set_by = request.param
        monkeypatch.setattr(time, "time", lambda: real() + request.param)

    monkeypatch.setattr(Clock, "time", lambda self: real() + self.passed + self.set_by)
    return set_clock


@pytest.fixture
def timed(tmp_path: Path, clock: Clock) -> Iterator[Session]:
    settings = Settings(home=tmp_path, progress=False, log_level="CRITICAL")
    mine = Session(settings, records=MemoryRecords(clock=clock), clock=clock)
    before = sessions.use(mine)
    yield mine
    sessions.use(before)
    mine.close()


@pytest.fixture(params=["thread", "process"])
def either(request: pytest.FixtureRequest) -> Any:
    return ThreadRunner(max_workers=2) if request.param == "thread" else ProcessRunner(max_workers=2)


def test_retries_and_time_outs_come_neither_early_nor_late(
    timed: Session, either: Any, jump: Callable[[], None], tmp_path: Path
) -> None:
    first = str(tmp_path / "first")

    @task(retries=1, retry_delay_seconds=0.6, timeout_seconds=20)
    def again(x: int) -> float:
        if not os.path.exists(first):
            open(first, "w").close()
            raise ValueError
        return time.monotonic()

    @task(timeout_seconds=0.6)
    def slow(x: int) -> int:
        time.sleep(30)
        return x

    @task(timeout_seconds=20)
    def patient(x: int) -> int:
        time.sleep(0.3)
        return x

    @flow(runner=either, timeout_seconds=60)
    def main() -> tuple[float, float, str, int]:
        began = time.monotonic()
        late, out, kept = again.submit(1), slow.submit(1), patient.submit(5)
        until(lambda: os.path.exists(first))
        jump()
        kept_value = kept.result(WAIT)
        waited = late.result(WAIT) - began
        state = out.wait()
        took = time.monotonic() - began
        out.exception()
        return waited, took, state.name, kept_value

    waited, took, name, kept = main()
    assert kept == 5
    assert 0.6 <= waited < 10
    assert name == "TimedOut"
    assert 0.6 <= took < 10


def test_no_duration_is_negative_or_an_hour_long(timed: Session, either: Any, jump: Callable[[], None]) -> None:
    @task
    def work(x: int) -> int:
        return x

    @flow
    def inner() -> int:
        jump()
        return 1

    @flow(runner=either)
    def main() -> int:
        before = work.map(range(20))
        open_ = work.submit(1)
        called = work(1)
        mapped = work.map(range(5))
        inside = inner.submit().result()
        return sum(before.result()) + open_.result() + called + sum(mapped.result()) + inside  # type: ignore[no-any-return]

    assert main() == 190 + 1 + 1 + 10 + 1
    timed.flush_records()
    [run] = [row for row in timed.records.flow_runs() if not row.parent_run]
    for row in timed.records.flow_runs():
        assert row.ended is not None
        assert row.started is not None
        assert 0 <= row.ended - row.started < 60, row.flow
    for map in timed.records.maps(run.id):
        assert map.ended is None or 0 <= map.ended - map.created < 60, map.task
        for item in timed.records.items(map.id):
            assert item.duration is None or 0 <= item.duration < 60, map.task


def test_a_driver_on_this_host_is_not_taken_for_gone(tmp_path: Path, clock: Clock, jump: Callable[[], None]) -> None:
    """Its process is there: when it was last heard of does not count."""
    records = SqliteRecords(tmp_path / "records.db", clock=clock)
    pid = os.getpid()
    row = FlowRunRow(
        "run", "flow", "name", RUNNING, "Running", created=clock.time(), started=clock.time(), pid=pid,
        pid_started=process_started(pid), host=host_name(), heartbeat=clock.time(),
    )  # fmt: skip
    records.append([row])
    records.flush()
    jump()
    assert records.mark_dead() == []
    found = records.flow_run("run")
    assert found is not None
    assert found.state_name == "Running"
    records.close()


TAKER = """
import sys, time
from types import SimpleNamespace
from anabranch.results.disk import DiskStore
clock = SimpleNamespace(time=lambda: time.time() + float(sys.argv[2]), monotonic=time.monotonic)
print(DiskStore(sys.argv[1], clock=clock).lock("key", "child", 600.0), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("before", [HOUR, 0.0, -HOUR])
def test_a_lock_of_another_process_of_this_host_holds_as_long_as_it_was_taken_for(
    tmp_path: Path, clock: Clock, before: float
) -> None:
    """Two processes whose wall clocks are an hour apart, as if it had been set after the first one took the lock."""
    store = DiskStore(tmp_path / "store", clock=clock)
    with subprocess.Popen(
        [sys.executable, "-c", TAKER, store.folder, str(before)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert not store.lock("key", "me", 600.0)
        clock.passed = 400.0  # a slow machine has 200 s from here
        assert not store.lock("key", "me", 600.0)
        clock.passed = 600.0
        assert store.lock("key", "me", 600.0)
        assert child.poll() is None, "its lock lapsed at its time, not with its death"
        child.stdin.close()


def test_a_cached_task_is_computed_once_whatever_the_clock_does(
    timed: Session, jump: Callable[[], None], clock: Clock, tmp_path: Path
) -> None:
    """Who comes while it is computed waits for it; that a lock lasts an hour too long nobody would wait for here."""
    timed.stores._store = DiskStore(tmp_path / "store", clock=clock)
    gate, began = threading.Event(), list[int]()

    @task(cache_policy=INPUTS)
    def work(x: int) -> int:
        began.append(x)
        assert gate.wait(WAIT)
        return 2 * x

    @flow(runner=ThreadRunner(max_workers=2))
    def main() -> list[int]:
        first = work.submit(1)
        until(lambda: began)
        jump()
        second = work.submit(1)
        until(lambda: second.state.name == "AwaitingCache" or len(began) == 2)
        gate.set()
        return [first.result(WAIT), second.result(WAIT)]

    assert main() == [2, 2]
    assert began == [1]


def test_threads_that_wait_do_not_wake_early(timed: Session, jump: Callable[[], None]) -> None:
    gate = threading.Event()

    @task
    def work(x: int) -> int:
        assert gate.wait(WAIT)
        return x

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> tuple[float, int]:
        future = work.submit(3)
        threading.Timer(0.05, jump).start()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            future.result(0.4)
        took = time.monotonic() - began
        gate.set()
        return took, future.result(WAIT)

    took, value = main()
    assert value == 3
    assert 0.4 <= took < 5
