"""A worker that is stopped by a signal: its work is given to another, its late result refused (fault test 18)."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from anabranch import ProcessRunner, flow, task
from anabranch.runners.process import in_flight
from tests.faults.pipes import read_pid
from tests.faults.workers import WAIT, assert_works, later, running, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anabranch.session import Session

pytestmark = pytest.mark.sampled(4, "each waits until a worker is taken for stopped")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "STATE_SECONDS", 0.05)
    monkeypatch.setattr(in_flight, "STOPPED_SECONDS", 0.3)


def met_first(here: str, gate: str, folder: str) -> Callable[[int], int]:
    """Squares; the first to come to item 3 says who it is, and waits until the gate is opened."""

    def work(x: int) -> int:
        with open(f"{folder}/ran-{x}", "a") as file:
            file.write("x")
        if x == 3 and not os.path.exists(f"{folder}/first"):
            open(f"{folder}/first", "w").close()
            with open(here, "w") as file:
                file.write(str(os.getpid()))
            open(gate).close()
            return -1  # what comes too late
        return x * x

    return work


def logged(session: Session, text: str) -> bool:
    session.flush_records()
    return any(text in line.message for line in session.records.logs("", limit=100))


def test_its_work_is_anothers_and_its_late_result_is_refused(
    runner: ProcessRunner, session: Session, here: str, gate: str, tmp_path: Path
) -> None:
    work = task(met_first(here, gate, str(tmp_path)))

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(40), chunk=10)
        pid = read_pid(here)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert futures.result(WAIT) == [x * x for x in range(40)]
            assert later(futures) == [3]
            assert not logged(session, "late result"), "it is stopped still"
        finally:
            os.kill(pid, signal.SIGCONT)
        with open(gate, "w"):
            pass
        until(lambda: logged(session, "late result(s) of process-"))
        until(lambda: not running(pid))
        assert futures[3].result() == 9
        assert (tmp_path / "ran-3").read_text() == "xx"
        assert (tmp_path / "ran-4").read_text() == "x", "what stood behind it was done by the other one alone"
        assert_works(runner)

    main()


def test_a_large_late_result_leaves_nothing_behind(
    runner: ProcessRunner, session: Session, here: str, gate: str, tmp_path: Path
) -> None:
    small = met_first(here, gate, str(tmp_path))
    work = task(lambda x: bytes(2 << 20) if small(x) < 0 else b"")

    @flow(runner=runner)
    def main() -> None:
        future = work.submit(3)
        pid = read_pid(here)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert future.result(WAIT) == b""
        finally:
            os.kill(pid, signal.SIGCONT)
        with open(gate, "w"):
            pass
        until(lambda: logged(session, "late result"))
        until(lambda: not running(pid))
        assert list(runner._folder.glob("*-*-*")) == []

    main()


def test_one_that_computes_for_long_is_not_taken_for_stopped(runner: ProcessRunner) -> None:
    """It holds the interpreter in C code: nothing in it moves, and yet it works."""

    @task
    def work(x: int) -> int:
        re.match("(a|a)*b", "a" * 24)
        return os.getpid()

    @flow(runner=runner)
    def main() -> None:
        future = work.submit(1)
        pid = future.result(WAIT)
        assert future.state.attempt == 1
        assert pid in {w.pid for w in runner._workers}

    main()


def test_a_short_stop_costs_nothing(
    runner: ProcessRunner, here: str, gate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "STOPPED_SECONDS", 60.0)
    work = task(met_first(here, gate, str(tmp_path)))

    @flow(runner=runner)
    def main() -> None:
        future = work.submit(3)
        pid = read_pid(here)
        os.kill(pid, signal.SIGSTOP)
        until(lambda: any(w.stopped_since is not None for w in runner._workers))
        os.kill(pid, signal.SIGCONT)
        until(lambda: all(w.stopped_since is None for w in runner._workers))
        with open(gate, "w"):
            pass
        assert future.result(WAIT) == -1
        assert future.state.attempt == 1

    main()
