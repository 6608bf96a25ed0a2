"""Resources on clusters that may grow: runs wait for a worker that has them, say so, and not for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core.errors import ResourceError
from anabranch.records.memory import MemoryRecords
from anabranch.runners.dask.runner import DaskRunner
from anabranch.session import Session
from anabranch.settings import Settings
from anabranch.testing import FakeRemoteRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@task(gpus=1)
def on_gpu(n: int) -> int:
    return 2 * n


@task
def anywhere(n: int) -> int:
    return n


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Callable[[float], None]]:
    """Puts a session in place that waits so many seconds for capacity."""
    made: list[tuple[Session, Session | None]] = []

    def start(seconds: float) -> None:
        session = Session(Settings(home=tmp_path, progress=False, capacity_timeout=seconds), records=MemoryRecords())
        made.append((session, sessions.use(session)))

    yield start
    for session, before in made:
        sessions.use(before)
        session.close()


def until(check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_a_run_waits_for_a_worker_and_says_so(here: Callable[[float], None]) -> None:
    here(60)
    runner = FakeRemoteRunner(resources={"cpus": 1}, elastic=True)

    @flow(runner=runner)
    def run() -> tuple[Any, ...]:
        single, several = on_gpu.submit(4), on_gpu.map(range(3))
        other = anywhere.map(range(3)).result()  # the others need not wait
        told = [(state.name, state.message) for state in (single.get_state(), several.states[1])]
        runner.offer(gpus=2)
        return told, other, single.result(), several.result()

    told, *values = run()
    assert set(told) == {("Pending", "waits for a worker with gpus=1 (none)")}
    assert values == [[0, 1, 2], 8, [0, 2, 4]]


def test_nobody_waits_for_ever(here: Callable[[float], None]) -> None:
    here(0.2)

    @flow(runner=FakeRemoteRunner(resources={"cpus": 1, "gpus": 0.5}, elastic=True))
    def run() -> list[str]:
        single, several = on_gpu.submit(4), on_gpu.map(range(3))
        over = anywhere.map(on_gpu.map(iter(range(100))))
        with pytest.raises(ResourceError, match=r"gpus=1 \(at most 0.5\) on one worker, and the fake runner"):
            single.result()
        with pytest.raises(ResourceError, match="capacity_timeout"):
            on_gpu.submit(5).result()  # later ones have their own time
        return [state.name for state in (*several.wait(), *over.wait())]

    found = run(return_state=True).result(raise_on_failure=False)
    assert found[:3] == ["Failed"] * 3
    assert set(found[3:]) == {"TriggerFailed"}


def test_cancelled_while_they_wait(here: Callable[[float], None]) -> None:
    here(60)

    @flow(runner=FakeRemoteRunner(resources={"cpus": 1}, elastic=True))
    def run() -> list[str]:
        found = on_gpu.map(range(3))
        found.cancel()
        return [state.name for state in found.wait()]

    assert run() == ["Cancelled"] * 3


def test_workers_that_leave_make_runs_wait_again(here: Callable[[float], None]) -> None:
    here(60)
    runner = FakeRemoteRunner(resources={"cpus": 1, "gpus": 1}, elastic=True)

    @flow(runner=runner)
    def run() -> tuple[Any, ...]:
        before = on_gpu.map(range(3)).result()
        runner.offer(gpus=0)
        lane = sessions.current().pump.dispatcher.tables.lanes[-1]
        until(lambda: lane.offers["gpus"] == 0)
        later = on_gpu.submit(7)
        waits = later.get_state().message
        runner.offer(gpus=1)
        return before, waits, later.result()

    assert run() == ([0, 2, 4], "waits for a worker with gpus=1 (none)", 14)


@pytest.mark.sampled(4, "a cluster of its own")
@pytest.mark.dask
def test_a_dask_cluster_that_grows(here: Callable[[float], None]) -> None:
    distributed = pytest.importorskip("distributed")
    here(60)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=50
    ) as cluster:

        @flow(runner=DaskRunner(cluster=cluster))
        def run() -> tuple[Any, ...]:
            many = task(cpus=3)(anywhere.fn).submit(1)
            found = on_gpu.map(range(4))
            plain = task(cpus=1, memory="1 MB")(anywhere.fn).map(range(3)).result()  # nobody declares these
            states = found.states[0].message, many.get_state().message
            cluster.scale(0)
            cluster.worker_spec["big"] = {
                "cls": distributed.Worker, "options": {"nthreads": 4, "resources": {"gpus": 1}},
            }  # fmt: skip
            cluster.sync(cluster._correct_state)
            return states, plain, found.result(), many.result()

        states, *values = run()
    assert states == ("waits for a worker with gpus=1 (none)", "waits for a worker with cpus=3 (at most 1)")
    assert values == [[0, 1, 2], [0, 2, 4, 6], 1]
