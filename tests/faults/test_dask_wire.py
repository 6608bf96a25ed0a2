"""The wire between a Dask runner and its scheduler: it breaks, comes back, or is cut because of others."""

from __future__ import annotations

import importlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task, unmapped
from anabranch.core.errors import RunnerError
from anabranch.core.events import EngineLost
from anabranch.core.reports import Held
from tests.faults.workers import until
from tests.integration.dask_runner.driving import Driver, blob

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.sampled(5, "most have a cluster of their own")]

WAIT = 60.0
MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = importlib.import_module("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=60
    ) as cluster:
        yield cluster


def cut(runner: DaskRunner) -> None:
    """Break the connection, as a network does."""
    client = runner._link.client
    client.loop.add_callback(client.scheduler_comm.comm.abort)


def test_a_connection_that_breaks_and_comes_back_costs_no_item(cluster: Any, tmp_path: Path) -> None:
    runner = DaskRunner(cluster)
    big = os.urandom(2 * MIB)

    @task
    def work(x: int) -> int:
        if x == 50:
            (tmp_path / "begun").touch()
            while not (tmp_path / "open").exists():
                time.sleep(0.01)
        return x * x

    @task
    def look(x: int, data: bytes) -> int:
        return x + data[x]

    @flow(runner=runner)
    def main() -> tuple[list[int], list[int]]:
        futures = work.map(range(200))
        before = look.map(range(100), unmapped(big))
        before.wait(WAIT)
        until(lambda: (tmp_path / "begun").exists())
        client, comm = runner._link.client, runner._link.client.scheduler_comm
        cut(runner)
        until(lambda: client.status == "running" and client.scheduler_comm is not comm)
        (tmp_path / "open").touch()
        after = look.map(range(100), unmapped(big))
        assert after.result(WAIT) == [x + big[x] for x in range(100)]
        return futures.result(WAIT), before.result(WAIT)

    squares, looked = main()
    assert squares == [x * x for x in range(200)]
    assert looked == [x + big[x] for x in range(100)]


def test_held_values_are_made_again_after_a_cut(cluster: Any) -> None:
    runner = DaskRunner(cluster)

    @task
    def make(x: int) -> bytes:
        return bytes([x]) * MIB

    @flow(runner=runner)
    def main() -> list[int]:
        made = make.map(range(6))
        made.wait(WAIT)
        cut(runner)
        until(lambda: any(state.attempt > 1 for state in made.states))
        assert [value[0] for value in made.result(WAIT)] == list(range(6))
        return [state.attempt for state in made.states]

    assert main() == [2] * 6


def test_news_of_others_that_do_not_pickle_are_not_heard(cluster: Any) -> None:
    """`scatter(broadcast=True)` tells all of a thing the scheduler cannot send, and so cuts off who listens."""
    distributed = importlib.import_module("distributed")
    driver = Driver(DaskRunner(cluster))
    try:
        mine = driver.runner._link.client
        comm = mine.scheduler_comm
        with distributed.Client(cluster, set_as_default=False) as theirs:
            theirs.scatter(os.urandom(MIB), broadcast=True)
        chunk = driver.chunk(driver.task(blob), [1])
        driver.run([chunk])
        assert driver.values(chunk) == [blob(1)]
        assert mine.scheduler_comm is comm
    finally:
        driver.runner.close()


def test_a_killed_scheduler_ends_the_flow(tmp_path: Path) -> None:
    """Nothing hangs: what was to run has crashed, and so does what comes after."""
    runner = DaskRunner(n_workers=1)

    @task
    def forever(x: int) -> int:
        (tmp_path / "begun").touch()
        time.sleep(1000)
        return x

    @flow(runner=runner)
    def main() -> list[str]:
        futures = forever.map(range(10))
        until(lambda: (tmp_path / "begun").exists())
        cluster = runner._link.own
        assert cluster is not None
        os.killpg(cluster._process.pid, signal.SIGKILL)
        futures.wait(WAIT)
        later = forever.map(range(3))
        later.wait(WAIT)
        return [state.name for state in (*futures.states, *later.states)]

    assert main() == ["Crashed"] * 13


def test_a_borrowed_scheduler_that_is_killed(tmp_path: Path) -> None:
    """It could come back, so there is a time for that; then the engine is lost, and said to be."""
    mine = DaskRunner(n_workers=1)  # somebody's cluster, in a process of its own
    host = Driver(mine)
    cluster = mine._link.own
    assert cluster is not None
    borrower = DaskRunner(address=cluster.scheduler_address)
    driver = Driver(borrower)
    borrower._link.client._timeout = 2  # seconds to come back
    held = driver.chunk(driver.task(blob), [1])
    driver.run([held])
    assert isinstance(driver.reports[held.id][0].blocks[0], Held)
    driver.runner.submit([driver.chunk(driver.task(lambda x: time.sleep(1000)), [1])])
    os.killpg(cluster._process.pid, signal.SIGKILL)
    driver.until(lambda: any(isinstance(event, EngineLost) for event in driver.events))
    with pytest.raises(RunnerError, match="lost"):
        borrower.submit([driver.chunk(1, [1])])
    borrower.close()
    host.runner.close()
