"""The process runner when items are stopped: past their time, cancelled, by their own `sys.exit`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from anabranch import ProcessRunner, flow, task
from anabranch.core.errors import TaskTimeoutError
from tests.faults.pipes import read_pid
from tests.faults.workers import WAIT, assert_works, later, running, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(2, "a pool for each")


def test_a_time_out_kills_only_its_item(runner: ProcessRunner, gate: str) -> None:
    @task(timeout_seconds=0.4)
    def work(x: int) -> int:
        if x == 7:
            open(gate).close()
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(40))
        futures.wait(WAIT)
        assert futures.failed() == [7]
        assert futures.states[7].name == "TimedOut"
        assert [futures[i].result() for i in range(40) if i != 7] == [i for i in range(40) if i != 7]
        assert later(futures) == []
        with pytest.raises(TaskTimeoutError, match=r"0\.4"):
            futures[7].result()
        assert_works(runner)

    main()


def test_a_time_out_is_retried(runner: ProcessRunner, gate: str, tmp_path: Path) -> None:
    first = str(tmp_path / "first")

    @task(timeout_seconds=0.4, retries=1)
    def work(x: int) -> int:
        if x == 2 and not os.path.exists(first):
            open(first, "w").close()
            open(gate).close()
        return x

    @flow(runner=runner)
    def main() -> tuple[list[int], list[int]]:
        futures = work.map(range(5))
        return futures.result(WAIT), later(futures)

    assert main() == ([0, 1, 2, 3, 4], [2])


def test_a_running_item_is_cancelled(runner: ProcessRunner, here: str, gate: str) -> None:
    @task
    def work(x: int) -> int:
        if x == 3:
            with open(here, "w") as file:
                file.write(str(os.getpid()))
            open(gate).close()
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(20), chunk=10)
        pid = read_pid(here)
        assert futures[3].cancel()
        until(lambda: not running(pid))
        states = futures.wait(WAIT)
        assert futures.failed() == [3]
        assert states[3].is_cancelled()
        assert [futures[i].result() for i in range(20) if i != 3] == [i for i in range(20) if i != 3]
        assert later(futures) == []
        assert futures[3].exception() is not None
        assert_works(runner)

    main()


def test_sys_exit_fails_its_task_and_no_other(runner: ProcessRunner) -> None:
    @task
    def work(x: int) -> int:
        if x == 3:
            sys.exit(4)
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(20))
        futures.wait(WAIT)
        pids = {w.process.pid for w in runner._workers}
        assert futures.failed() == [3]
        state = futures.states[3]
        assert state.is_failed() or state.is_crashed()
        assert "system exit: 4" in state.message
        assert [futures[i].result() for i in range(20) if i != 3] == [i for i in range(20) if i != 3]
        assert later(futures) == []
        futures[3].wait()
        assert futures[3].exception() is not None
        assert_works(runner)
        assert {w.process.pid for w in runner._workers} == pids

    main()
