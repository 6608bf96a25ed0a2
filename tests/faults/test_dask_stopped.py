"""A worker of an own Dask cluster that is stopped by a signal: its work is given to another (fault test 18)."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task
from anabranch.clusters import local
from tests.faults.pipes import read_pid, squares_met_at
from tests.faults.workers import running, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.timeout(180), pytest.mark.sampled(7, "a cluster of its own")]

WAIT = 60.0


def test_its_work_is_anothers_and_one_that_computes_is_left_alone(
    here: str, gate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(local, "STOPPED_LOOKS", 5)
    runner = DaskRunner(n_workers=2)
    work = task(squares_met_at(3, here, gate, str(tmp_path / "first")))

    @task
    def compute(x: int) -> int:
        re.match("(a|a)*b", "a" * 22)  # half a second in C, in which nothing else of its process moves
        return os.getpid()

    @flow(runner=runner)
    def main() -> None:
        client: Any = runner._link.client
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.worker_ttl) is None
        computed = compute.submit(0)
        assert computed.result(WAIT) in client.run(os.getpid).values()
        assert computed.state.attempt == 1
        futures = work.map(range(20), chunk=5)
        pid = read_pid(here)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert futures.result(WAIT) == [x * x for x in range(20)]
            until(lambda: not running(pid))
        finally:
            if running(pid):
                os.kill(pid, signal.SIGCONT)
        assert futures.states[3].attempt > 1

    main()
