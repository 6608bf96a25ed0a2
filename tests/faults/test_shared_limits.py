"""Several programs under one limit, in processes of their own: killed, stopped, side by side, and under a rate."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ThreadRunner, task
from anabranch import session as sessions
from anabranch.core.limits import Ask, Holder, Limit
from anabranch.core.processes import host_name, process_started
from anabranch.records import shares
from anabranch.records.sqlite import SqliteRecords
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.sampled(6, "several programs for each")
REPOSITORY = Path(__file__).resolve().parents[2]
WAIT = 50.0
CLOCKS = 0.01  # seconds by which the record's wall clock and a program's monotonic one may differ
# Marks are single short writes to a file opened for appending: whole, in order, and there after a kill.
PROGRAM = '''
import os, sys, threading, time
from anabranch import ProcessRunner, ThreadRunner, concurrency, flow, rate_limit, task
from anabranch.records.limits import RecordLimits

MARKS, KIND, COUNT, SECONDS = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
marks = {}

def mark(what, n, when=None):
    if os.getpid() not in marks:
        marks[os.getpid()] = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(marks[os.getpid()], f"{what} {DRIVER}-{n} {when or time.time()}\\n".encode())

DRIVER = os.getpid()

def work(n):
    mark("begin", n)
    threading.Event().wait(SECONDS)
    mark("end", n)
    return n

reserve = RecordLimits.start

def start(self, name, count=1):
    found = reserve(self, name, count)
    for n, when in enumerate(found.times):
        mark("due", f"{n}-{when}", when)
    return found

RecordLimits.start = start

@task(tags=["db"])
def tagged(n):
    return work(n)

@task
def paced(n):
    rate_limit("api")
    return work(n)

@task(tags=["api"])
def started(n):
    return work(n)

@task
def inside(n):
    with concurrency("tag:db"):
        return work(n)

@task
def warm(n):
    threading.Event().wait(0.05)

@flow(runner=ProcessRunner(max_workers=3) if "process" in KIND else ThreadRunner(max_workers=6))
def main():
    warm.map(range(12), chunk=1).wait()
    return sum({"tagged": tagged, "paced": paced, "started": started, "inside": inside}[KIND.split("-")[0]]
        .map(range(COUNT)).result())

print(main() == COUNT * (COUNT - 1) // 2, flush=True)
'''


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecords]:
    made = SqliteRecords(tmp_path / "records.db")
    yield made
    made.close()


@pytest.fixture
def start(tmp_path: Path, record: SqliteRecords) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin a program on the record that all share."""
    begun: list[subprocess.Popen[str]] = []
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environ = {
        **os.environ, "ANABRANCH_HOME": str(tmp_path), "ANABRANCH_RECORDS": str(record.path),
        "ANABRANCH_PROGRESS": "false", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip

    def start(kind: str, count: int, seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(tmp_path / "marks"), kind, str(count), str(seconds)]
        begun.append(
            subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return begun[-1]

    yield start
    for program in begun:
        program.kill()
        program.communicate()


def ended(program: subprocess.Popen[str]) -> str:
    """Wait for a program that has to go well; what it logged."""
    out, err = program.communicate(timeout=WAIT)
    assert (program.returncode, out.strip()) == (0, "True"), err
    return err


class Marks:
    """When runs began and ended, as the runs themselves tell."""

    def __init__(self, folder: Path) -> None:
        path = folder / "marks"
        self.begun: dict[str, float] = {}
        self.over: dict[str, float] = {}
        self.due: list[float] = []
        for line in path.read_text().splitlines() if path.exists() else []:
            what, run, when = line.split()
            if what == "due":
                self.due.append(float(when))
            else:
                (self.begun if what == "begin" else self.over)[run] = float(when)

    def most(self, killed: float = float("inf")) -> int:
        """The most that went on at once; those of a killed program until then."""
        events = [(when, 1) for when in self.begun.values()]
        events += [(self.over.get(run, killed), -1) for run in self.begun]
        now = most = 0
        for _, step in sorted(events):
            now += step
            most = max(most, now)
        return most

    def of(self, program: subprocess.Popen[str]) -> list[float]:
        return sorted(when for run, when in self.begun.items() if run.startswith(f"{program.pid}-"))


def until(check: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["tagged", "tagged-process", "inside-process"])
def test_a_killed_holder_leaves_its_slots_to_the_others(
    start: Callable[..., subprocess.Popen[str]], record: SqliteRecords, tmp_path: Path, kind: str
) -> None:
    """Fault test 23: 500 runs of three programs under a limit of 4; one program is killed while it holds slots."""
    record.limits.set(Limit("tag:db", slots=4))
    first, second = start(kind, 200, 0.01), start(kind, 200, 0.01)
    third = start(kind, 100, 0.1)
    until(lambda: len(Marks(tmp_path).of(third)) >= 4)
    before = {lease.holder.pid: lease.slots for lease in record.limits.leases("tag:db")}
    killed = time.time()  # not later: the others may have its slots before this program hears that it is dead
    third.kill()
    third.wait()
    ended(first)
    ended(second)
    marks = Marks(tmp_path)
    assert before[third.pid] >= 1
    assert len(marks.of(first)) == len(marks.of(second)) == 200
    assert 3 <= marks.most(killed) <= 4
    assert record.limits.leases("tag:db") == []
    assert record.limits.acquire(Holder("test", host_name(), os.getpid(), process_started(os.getpid())),
                                 [Ask({"tag:db": 1}, 9)]) == [4]  # fmt: skip


def test_a_slot_comes_back_at_once_when_its_only_holder_dies(
    start: Callable[..., subprocess.Popen[str]], record: SqliteRecords, tmp_path: Path
) -> None:
    record.limits.set(Limit("tag:db", slots=1))
    stuck = start("tagged", 1, 1000.0)
    until(lambda: Marks(tmp_path).begun)
    other = start("tagged", 3, 0.0)
    until(lambda: any(lease.wanted for lease in record.limits.leases("tag:db")))
    stuck.kill()
    stuck.wait()
    killed = time.time()
    ended(other)
    assert Marks(tmp_path).of(other)[0] - killed < 2.0


def test_two_programs_share_fairly(
    start: Callable[..., subprocess.Popen[str]], record: SqliteRecords, tmp_path: Path
) -> None:
    """The second comes when the first has all slots; from then on it gets its half."""
    record.limits.set(Limit("tag:db", slots=4))
    first = start("tagged", 500, 0.05)
    until(lambda: len(Marks(tmp_path).begun) > 8)
    second = start("tagged", 60, 0.05)
    ended(second)
    first.kill()
    marks = Marks(tmp_path)
    mine = marks.of(second)
    others = [when for when in marks.of(first) if mine[0] <= when <= mine[-1]]
    assert 0.4 <= len(mine) / (len(mine) + len(others)) <= 0.75
    assert marks.most() <= 4


def test_one_slot_goes_round(
    start: Callable[..., subprocess.Popen[str]], record: SqliteRecords, tmp_path: Path
) -> None:
    record.limits.set(Limit("tag:db", slots=1))
    programs = [start("tagged", 60, 0.05) for _ in range(2)]
    for program in programs:
        ended(program)
    marks = Marks(tmp_path)
    assert marks.most() == 1
    one, other = (marks.of(program) for program in programs)
    assert max(one[0], other[0]) < min(one[-1], other[-1]), "one had it until it was done"


def test_a_stopped_holder_loses_its_slots_and_says_so(
    start: Callable[..., subprocess.Popen[str]], record: SqliteRecords, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    record.limits.set(Limit("tag:db", slots=1))
    stopped = start("tagged", 1, 6.0)
    until(lambda: Marks(tmp_path).begun)
    os.kill(stopped.pid, signal.SIGSTOP)
    monkeypatch.setattr(shares, "LEASE_SECONDS", 1.0)  # who asks decides
    me = Holder("test", host_name(), os.getpid(), process_started(os.getpid()))
    until(lambda: record.limits.acquire(me, [Ask({"tag:db": 1})]) == [1])
    os.kill(stopped.pid, signal.SIGCONT)
    assert "lost 1 slots of the limit 'tag:db'" in ended(stopped)


@pytest.mark.parametrize("kind", ["paced", "started", "paced-process"])
def test_a_rate_holds_over_two_programs(
    start: Callable[..., subprocess.Popen[str]], record: SqliteRecords, tmp_path: Path, kind: str
) -> None:
    """Starts are reserved at the rate, and none begins before its time, however late a busy machine lets it begin."""
    record.limits.set(Limit("api", rate=20.0))
    record.limits.set(Limit("tag:api", rate=20.0))
    for program in [start(kind, 25, 0.0), start(kind, 25, 0.0)]:
        ended(program)
    marks = Marks(tmp_path)
    begun, due = sorted(marks.begun.values()), sorted(marks.due)
    assert len(begun) == 50 <= len(due)
    assert all(later - earlier > 0.0499 for earlier, later in pairwise(due))
    assert all(began >= reserved - CLOCKS for began, reserved in zip(begun, due, strict=False))


def test_a_program_that_waits_for_a_limit_ends_when_it_is_told_to(
    start: Callable[..., subprocess.Popen[str]], record: SqliteRecords
) -> None:
    record.limits.set(Limit("flow:main", slots=1))
    me = Holder("test", host_name(), os.getpid(), process_started(os.getpid()))
    assert record.limits.acquire(me, [Ask({"flow:main": 1})]) == [1]
    program = start("tagged", 1, 0.0)
    until(lambda: [run for run in record.flow_runs() if run.state_name == "AwaitingConcurrencySlot"])
    program.terminate()
    program.communicate(timeout=WAIT)
    assert program.returncode == 143
    assert record.flow_runs()[0].state_name == "Cancelled"
    assert [lease.holder for lease in record.limits.leases("flow:main")] == [me]


def test_runs_go_on_with_the_slots_they_have_while_the_record_is_locked(
    record: SqliteRecords, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record.limits.set(Limit("tag:db", slots=2))
    runner: Any = ThreadRunner(max_workers=4)
    chosen = Settings(home=tmp_path, progress=False, runner=runner)
    mine = sessions.Session(chosen, records=SqliteRecords(record.path))
    before = sessions.use(mine)
    stop = threading.Event()

    @task(tags=["db"])
    def work(n: int) -> int:
        stop.wait(0.01)
        return n

    try:
        futures = work.map(range(2000), chunk=1)
        until(lambda: futures._map.done > 10)
        with closing(sqlite3.connect(record.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            done = futures._map.done
            until(lambda: futures._map.done > done + 100)
            other.execute("ROLLBACK")
        stop.set()
        assert len(futures.result()) == 2000
    finally:
        sessions.use(before)
        mine.close()
    assert "lost" not in caplog.text
    assert record.limits.leases("tag:db") == []
