"""A driver that was silent for so long that another one took its run: what it says then is refused, and it gives up."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core.context import current_flow
from anabranch.core.errors import RunTakenError
from anabranch.driver.keeper import Keeper
from anabranch.records.drivers import STALE
from anabranch.records.sqlite import SqliteRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.pipes import pipe, read_pid
from tests.faults.test_driver_deaths import accepted
from tests.faults.workers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.runs import FlowRunRow

pytestmark = pytest.mark.sampled(4, "two drivers for each")
ITEMS = 12
RESULT = str(3 * sum(range(ITEMS)))
WAIT = 40.0
COMMAND = [sys.executable, "-c", "from anabranch.cli import main; main()"]
# A driver is called by the name in WHO. Item x of its map waits at the pipe WHO-x, where there is one.
FLOWS = f"""
import os
from anabranch import ThreadRunner, flow, task
from anabranch.core import context

@task
def work(x):
    WHO = os.environ["WHO"]
    with open("ran", "a") as file:
        file.write(f"{{WHO}} {{x}}\\n")
    if os.path.exists(f"{{WHO}}-{{x}}"):
        open(f"{{WHO}}-{{x}}").close()
    return 3 * x

@task
def total(xs):
    return sum(xs)

@flow(name="main", resumable=True, runner=ThreadRunner(max_workers=2))
def main():
    print(context.current_flow.get().name, flush=True)
    found = total.submit(work.map(range({ITEMS}), chunk=1)).result()
    print(found, flush=True)
"""
# As one on another machine, whose processes cannot be looked for: there only its silence tells.
ELSEWHERE = """
from anabranch import session
here = session.current()
here.process = here.keeper._process = here.process._replace(host="elsewhere")
from flows import main
print(main(return_state=True).name, flush=True)
"""
HERE = """
from flows import main
print(main(return_state=True).name, flush=True)
"""
# Each has seen that the run is free before any of them takes it.
AT_ONCE = """
import os
from anabranch.cli import main
from anabranch.records import drivers

seen_free = drivers.Driver.free

def free(self, now):
    found = seen_free(self, now)
    assert found
    with open(f"{os.environ['WHO']}-here", "w") as file:
        file.write(str(os.getpid()))
    open(f"{os.environ['WHO']}-gate").close()
    return found

drivers.Driver.free = free
main()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of all drivers, with the file of their flow and their record."""
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANABRANCH_PROGRESS", "0")
    monkeypatch.setenv("ANABRANCH_LOG_LEVEL", "WARNING")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).resolve().parents[2]), str(tmp_path)]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text(FLOWS)
    return tmp_path


@pytest.fixture
def started(folder: Path) -> Iterator[Any]:
    """Starts drivers; whatever is left of them at the end of the test is killed."""
    made: list[subprocess.Popen[str]] = []

    def start(who: str, *command: str) -> subprocess.Popen[str]:
        env = {**os.environ, "WHO": who}
        made.append(
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
        )
        return made[-1]

    yield start
    for process in made:
        process.kill()  # a process that is stopped dies of it too
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = process.stdout.readline().strip()
    assert found, process.communicate()[1]
    return found


def opened(path: Path, driver: subprocess.Popen[str] | None = None) -> None:
    """Let the item that waits at a pipe go on; it is there, or comes, unless its driver has ended before."""

    def met() -> bool:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing reads it yet
                raise
            return driver is not None and driver.poll() is not None
        return True

    until(met, WAIT)


def ran(folder: Path, who: str) -> Counter[int]:
    """How often a driver has begun each item."""
    path = folder / "ran"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return Counter(int(item) for name, item in lines if name == who)


def silent(process: subprocess.Popen[str], records: Path) -> None:
    """Stop a driver, and let its last sign of life be longer ago than another host waits for.

    One that is stopped in the midst of a commit would keep the record's write lock: it goes on and is stopped again.
    """
    end = time.monotonic() + WAIT
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "the driver has ended"
        if aged(records):
            return
        os.kill(process.pid, signal.SIGCONT)
        assert time.monotonic() < end
        time.sleep(0.01)


def aged(records: Path) -> bool:
    """Let all that drivers have told of themselves be long ago; False when the record is locked."""
    told = "UPDATE flow_runs SET heartbeat = heartbeat - :s, created = created - :s, started = started - :s"
    with closing(sqlite3.connect(records, timeout=0.0, isolation_level=None)) as db:
        try:
            return db.execute(told, {"s": 2 * STALE}).rowcount == 1
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False


def stored(records: SqliteRecords, run: str) -> set[int]:
    """Items of the run's map that the record has with a value."""
    maps = [row for row in records.maps(run) if row.kind == "map"]
    return {item for map in maps for row in records.stored(map.id) for item in row.items}


def test_a_driver_that_wakes_up_and_has_lost_its_run_gives_it_up(folder: Path, started: Any) -> None:
    """It is under way, and so is the one that took its run, when it wakes up."""
    for wait in ("first-5", "first-6", "second-7"):
        pipe(folder / wait)
    first = started("first", sys.executable, "-c", ELSEWHERE)
    name = line(first)
    with SqliteRecords(folder / "home" / "records.db") as records:
        row = records.flow_run(name)
        assert row is not None
        until(lambda: stored(records, row.id) == set(range(5)) and ran(folder, "first")[6], WAIT)
        with pytest.raises(RunTakenError, match="on elsewhere"):  # it is heard of: nobody else may have its run
            records.claim(replace(row, host="here"))
        silent(first, records.path)
        second = started("second", *COMMAND, "resume", name)
        assert line(second) == name
        others = set(range(5, ITEMS))
        until(lambda: stored(records, row.id) == set(range(ITEMS)) - {7} and ran(folder, "second")[7], WAIT)

        os.kill(first.pid, signal.SIGCONT)
        opened(folder / "first-5", first)  # it goes on with that; its item 6 would wait for ever
        out, err = first.communicate(timeout=WAIT)
        assert out.split() == ["Cancelled"], err
        assert first.returncode == 0
        assert err.count(f"flow run {row.id} was taken over by another driver: it is given up here") == 1
        assert "go on with" not in err, "another driver does already"
        assert stored(records, row.id) == set(range(ITEMS)) - {7}
        _assert_driven_by(records.flow_run(row.id), second.pid, "Running")

        opened(folder / "second-7")
        out, err = second.communicate(timeout=WAIT)
        assert out.split() == [RESULT], err
        assert second.returncode == 0
        assert ran(folder, "second") == Counter(others)
        _assert_driven_by(records.flow_run(row.id), second.pid, "Completed")
        assert accepted(records.path) == Counter(range(ITEMS))
        told = [(t.state_name, t.attempt) for t in records.transitions(row.id)]
        assert told[-1] == ("Completed", 2)
        assert "Cancelled" not in dict(told), "that the first one gave up is no state of the run"
        (map,) = [map for map in records.maps(row.id) if map.kind == "map"]
        assert map.counts == {"Completed": ITEMS}
        assert records.check() == []


def test_a_later_start_of_the_same_job_does_not_wait_for_the_earlier_one(folder: Path, started: Any) -> None:
    """Slurm lost sight of a node and started the job again; the earlier script lives on, and another begins late."""
    for wait in ("first-5", "first-6", "second-7"):
        pipe(folder / wait)
    job = ("env", "SLURM_JOB_ID=7", "SLURM_RESTART_COUNT=1")
    first = started("first", "env", "SLURM_JOB_ID=7", sys.executable, "-c", HERE)
    name = line(first)
    with SqliteRecords(folder / "home" / "records.db") as records:
        row = records.flow_run(name)
        assert row is not None
        until(lambda: stored(records, row.id) == set(range(5)) and ran(folder, "first")[6], WAIT)
        second = started("second", *job, *COMMAND, "resume", name)
        until(lambda: ran(folder, "second")[7], WAIT)
        late = started("late", "env", "SLURM_JOB_ID=7", *COMMAND, "resume", name)
        out, err = late.communicate(timeout=WAIT)
        assert late.returncode == 1
        assert "restart 1 of job slurm:7, and this is its restart 0: it gives up" in err
        opened(folder / "first-5", first)
        out, err = first.communicate(timeout=WAIT)
        assert out.split() == ["Cancelled"], err
        assert "was taken over by another driver: it is given up here" in err
        opened(folder / "second-7")
        out, err = second.communicate(timeout=WAIT)
        assert out.split() == [name, RESULT], err
        assert ran(folder, "second") == Counter(range(5, ITEMS))
        assert not ran(folder, "late")
        _assert_driven_by(records.flow_run(row.id), second.pid, "Completed")
        assert accepted(records.path) == Counter(range(ITEMS))


def _assert_driven_by(row: FlowRunRow | None, pid: int, state: str) -> None:
    assert row is not None
    assert (row.state_name, row.attempt, row.token, row.pid) == (state, 2, 1, pid)


def test_a_run_that_two_want_at_once_is_had_by_one(folder: Path, started: Any) -> None:
    """Both have seen that its driver is gone before one of them takes it."""
    for wait in ("dead-5", "dead-6", "one-here", "one-gate", "one-7", "other-here", "other-gate", "other-7"):
        pipe(folder / wait)
    dead = started("dead", sys.executable, "-c", "from flows import main; main()")
    name = line(dead)
    with SqliteRecords(folder / "home" / "records.db") as records:
        row = records.flow_run(name)
        assert row is not None
        under_way = {5, 6}  # one for each of its threads; all that ended before is recorded
        until(lambda: stored(records, row.id) == set(range(5)) and under_way <= ran(folder, "dead").keys(), WAIT)
        dead.kill()
        dead.wait(WAIT)
        both = {who: started(who, sys.executable, "-c", AT_ONCE, "resume", name) for who in ("one", "other")}
        assert [read_pid(str(folder / f"{who}-here")) for who in both] == [process.pid for process in both.values()]
        for who in both:
            opened(folder / f"{who}-gate")
        until(lambda: any(process.poll() is not None for process in both.values()), WAIT)
        [winner] = [who for who, process in both.items() if process.poll() is None]
        [loser] = both.keys() - {winner}
        out, err = both[loser].communicate()
        assert both[loser].returncode == 1
        assert out == ""
        assert err.startswith(f"Error: run {row.id} has a driver: process {both[winner].pid} on ")  # RunTakenError
        opened(folder / f"{winner}-7")
        out, err = both[winner].communicate(timeout=WAIT)
        assert out.split() == [name, RESULT], err
        assert both[winner].returncode == 0
        assert ran(folder, "dead") == Counter(range(7))
        assert ran(folder, winner) == Counter(range(5, ITEMS)), "what was under way runs twice, and nothing else"
        assert not ran(folder, loser)
        _assert_driven_by(records.flow_run(row.id), both[winner].pid, "Completed")
        assert accepted(records.path) == Counter(range(ITEMS))


def test_a_driver_that_is_through_before_it_has_noticed_leaves_the_values_to_the_other_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its run has completed, as far as it knows; the one that took the run still reads what is stored."""

    @task
    def work(x: int) -> int:
        return 3 * x

    @flow(resumable=True)
    def main() -> int:
        found: list[int] = work.map(range(4)).result()
        here = current_flow.get()
        assert here is not None
        session.flush_records()
        until(lambda: aged(folder / "home" / "records.db"))
        row = others.flow_run(here.id)
        assert row is not None
        claimed.append((row.id, others.claim(replace(row, host="here"))))
        return sum(found)

    monkeypatch.setattr(Keeper, "start", lambda self: None)  # who would notice looks once a second
    session = Session(Settings(home=folder / "home", progress=False))
    session.process = session.keeper._process = session.process._replace(host="elsewhere")
    claimed: list[tuple[str, int]] = []
    before = sessions.use(session)
    try:
        with SqliteRecords(folder / "home" / "records.db") as others:
            assert main() == 18
            ((run, token),) = claimed
            assert token == 1
            names = {row.name for map in others.maps(run) for row in others.stored(map.id)}
            assert names
            assert all(session.store.blocks.items(name) for name in names)
            kept = others.flow_run(run)
            assert kept is not None
            assert (kept.state_name, kept.host) == ("Running", "here")
    finally:
        sessions.use(before)
        session.close()
    assert f"flow run {run} was taken over by another driver" in caplog.text
