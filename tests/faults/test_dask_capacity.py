"""Resources that no worker of an elastic Dask cluster has: runs wait and say for what; go on, or end with a name."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task
from anabranch import session as sessions
from anabranch.core.errors import ResourceError
from anabranch.records.memory import MemoryRecords
from anabranch.settings import Settings
from tests.faults.workers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.timeout(180), pytest.mark.sampled(7, "a cluster for each")]

WAIT = 120.0


@pytest.fixture
def lent() -> Iterator[Any]:
    """A cluster that is not ours, with one worker of one thread."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=60) as cluster:
        yield cluster


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Callable[[float], None]]:
    """Sets for how many seconds runs of this test wait for a worker."""
    made: list[tuple[sessions.Session, Any]] = []

    def use(seconds: float) -> None:
        settings = Settings(home=tmp_path, progress=False, log_level="CRITICAL", capacity_timeout=seconds)
        session = sessions.Session(settings, records=MemoryRecords())
        made.append((session, sessions.use(session)))

    yield use
    for session, before in made:
        sessions.use(before)
        session.close()


@task(resources={"mills": 1})
def ground(x: int) -> int:
    return x * 10


@task
def plain(x: int) -> int:
    return x


def test_runs_wait_for_a_worker_that_has_them(lent: Any, patient: Callable[[float], None]) -> None:
    """What asks for nothing goes on meanwhile; a worker that joins with the resource gets what waited."""
    patient(WAIT)
    begun = threading.Event()
    joined: list[subprocess.Popen[bytes]] = []

    def join() -> None:
        begun.wait(WAIT)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", lent.scheduler_address]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--resources", "mills=1"]
        joined.append(subprocess.Popen(command + options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    @flow(runner=DaskRunner(lent))
    def main() -> Any:
        single, several = ground.submit(4), ground.map(range(5))
        others = plain.map(range(5)).result(WAIT)
        until(lambda: "mills" in single.get_state().message, 30)
        waits = single.get_state()
        begun.set()
        return waits.name, waits.message, others, single.result(WAIT), several.result(WAIT)

    joiner = threading.Thread(target=join)
    joiner.start()
    try:
        name, message, *values = main()
    finally:
        begun.set()
        joiner.join()
        for process in joined:
            process.kill()
            process.wait()
    assert (name, message) == ("Pending", "waits for a worker with mills=1 (none)")
    assert values == [[0, 1, 2, 3, 4], 40, [0, 10, 20, 30, 40]]


def test_nobody_waits_for_ever(lent: Any, patient: Callable[[float], None]) -> None:
    patient(0.5)

    @flow(runner=DaskRunner(lent))
    def main() -> list[str]:
        single, several = ground.submit(4), ground.map(range(3))
        with pytest.raises(ResourceError, match=r"mills=1 \(none\) on one worker") as caught:
            single.result(WAIT)
        assert "capacity_timeout" in str(caught.value)
        return [state.name for state in several.wait(WAIT)]

    assert main(return_state=True).result(raise_on_failure=False) == ["Failed"] * 3
