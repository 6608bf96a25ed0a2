"""Clusters that come and go with the work, of jobs here and on Slurm: nothing is lost, nothing runs twice."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, SlurmCluster, flow, task
from anabranch.clusters.here import HereCluster
from anabranch.core.errors import RunnerError
from tests.integration.clusters.conftest import in_queue, until
from tests.integration.clusters.counted import begun, gated, large, length

if TYPE_CHECKING:
    from anabranch.clusters.elastic import JobCluster

pytestmark = [
    pytest.mark.dask,
    pytest.mark.timeout(300),
    pytest.mark.sampled(7, "a cluster whose jobs come and go for each"),
]

AT_NIGHT = pytest.mark.nightly("the same decisions; by day with jobs of this machine")
SLURM = pytest.param(SlurmCluster, id="slurm", marks=[pytest.mark.slurm, AT_NIGHT])
KINDS = [pytest.param(HereCluster, id="local"), SLURM]


@pytest.fixture(autouse=True)
def queue(request: pytest.FixtureRequest) -> None:
    """A real Slurm, for the tests that are marked so."""
    if request.node.get_closest_marker("slurm"):
        request.getfixturevalue("slurm")


@flow
def all_gated(n: int, folder: str) -> list[int]:
    return gated.with_options(crash_retries=0).map(range(n), folder).result()


@pytest.mark.parametrize("kind", KINDS)
def test_it_grows_with_the_work_and_shrinks_when_there_is_none(
    kind: type[JobCluster], size: dict[str, Any], tmp_path: Path
) -> None:
    with kind(minimum=0, maximum=3, idle=3.0, **size) as cluster:
        assert cluster.status()["submitted"] == 0
        runner = DaskRunner(cluster)
        done = all_gated.with_options(runner=runner).submit(300, str(tmp_path))
        until(lambda: cluster.status()["workers"] == 3, "as many jobs as it may have")
        (tmp_path / "gate").touch()
        assert done.result() == list(range(300))
        until(lambda: cluster.status()["workers"] == 0, "no job without work")
        assert cluster.status()["lost"] == 0
        if kind is SlurmCluster:
            until(lambda: not in_queue(size["name"]), "nor one in the queue")
        assert all_gated.with_options(runner=runner)(5, str(tmp_path)) == list(range(5)), "it comes back with the work"


def test_jobs_that_are_let_go_finish_what_they_run(size: dict[str, Any], tmp_path: Path) -> None:
    """Both workers are in an item when one of them is to go: each item runs once, without any retry."""
    with HereCluster(minimum=2, maximum=2, **size) as cluster:
        until(lambda: cluster.status()["workers"] == 2, "two workers")
        done = all_gated.with_options(runner=DaskRunner(cluster)).submit(40, str(tmp_path))
        until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists(), "both are in an item")
        cluster.scale(1)
        until(lambda: "leaving" in [job["state"] for job in cluster.status()["jobs"]], "one is to go")
        (tmp_path / "gate").touch()
        assert done.result() == list(range(40))
        until(lambda: cluster.status()["workers"] == 1, "it has gone")
        assert begun(tmp_path) == dict.fromkeys(range(40), 1)


def test_values_move_to_the_jobs_that_stay(size: dict[str, Any], tmp_path: Path) -> None:
    @flow
    def kept(cluster: Any) -> list[int]:
        blocks = large.map(range(20), str(tmp_path))
        blocks.wait()
        cluster.scale(1)
        until(lambda: cluster.status()["workers"] == 1, "one of two has gone")
        return length.map(blocks).result()

    with HereCluster(minimum=2, maximum=2, **size) as cluster:
        until(lambda: cluster.status()["workers"] == 2, "two workers")
        assert kept.with_options(runner=DaskRunner(cluster), validate_parameters=False)(cluster) == [200_000] * 20
    assert begun(tmp_path) == dict.fromkeys(range(20), 1), "none was made again"


@pytest.mark.nightly("one of two ends of the same kind")
def test_a_cluster_whose_jobs_all_fail_ends_the_flow_with_the_reason(size: dict[str, Any], tmp_path: Path) -> None:
    with HereCluster(minimum=1, maximum=1, prologue=["echo 'no such module: cuda'; exit 3"], **size) as cluster:
        state = all_gated.with_options(runner=DaskRunner(cluster))(2, str(tmp_path), return_state=True)
        assert state.is_crashed() or state.is_failed()
        assert "no such module: cuda" in str(state.message), state
        assert "exit 3" in cluster.why()


@task
def told(x: int, folder: str) -> int:
    """An item of a moment; the first of each process leaves the time."""
    mark = Path(folder) / f"pid-{os.getpid()}"
    if not mark.exists():
        mark.write_text(str(time.time()))
    time.sleep(0.05)
    return x


@flow
def all_told(n: int, folder: str) -> list[int]:
    return told.map(range(n), folder).result()


def test_a_job_that_joins_late_has_work_within_five_seconds(size: dict[str, Any], tmp_path: Path) -> None:
    with HereCluster(minimum=1, maximum=1, **size) as cluster:
        done = all_told.with_options(runner=DaskRunner(cluster)).submit(100_000, str(tmp_path))
        until(lambda: list(tmp_path.glob("pid-*")), "the first worker works")
        cluster.scale(2)
        joined = until(lambda: time.time() if cluster.status()["workers"] == 2 else 0.0, "a second worker")
        until(lambda: len(list(tmp_path.glob("pid-*"))) == 2, "it works")
        assert max(float(mark.read_text()) for mark in tmp_path.glob("pid-*")) - joined < 5.0
        done.cancel()
        done.wait()


@pytest.mark.nightly("a batch system counts in minutes")
@pytest.mark.timeout(600)
@pytest.mark.slurm
def test_no_item_is_lost_to_a_walltime_that_is_shorter_than_the_flow(size: dict[str, Any], tmp_path: Path) -> None:
    """Five minutes of items on one job of two minutes: jobs leave in time, others come, and no attempt is lost."""
    with SlurmCluster(minimum=1, maximum=1, **{**size, "walltime": "00:02:00"}) as cluster:
        assert slow.with_options(runner=DaskRunner(cluster))(150, str(tmp_path)) == list(range(150))
        assert cluster.status()["submitted"] >= 3
        assert cluster.status()["lost"] == 0
        assert begun(tmp_path) == dict.fromkeys(range(150), 1)


@task(crash_retries=0)
def two_seconds(x: int, folder: str) -> int:
    with open(f"{folder}/{x}", "a") as file:
        file.write("begun\n")
    time.sleep(2)
    return x


@flow
def slow(n: int, folder: str) -> list[int]:
    return two_seconds.map(range(n), folder).result()


@pytest.mark.slurm
def test_a_job_that_can_never_start_ends_the_flow_with_the_queues_reason(size: dict[str, Any], tmp_path: Path) -> None:
    with SlurmCluster(minimum=1, maximum=1, **{**size, "cores": 400}) as cluster:
        state = all_gated.with_options(runner=DaskRunner(cluster))(2, str(tmp_path), return_state=True)
        assert "no node of the partition has so much" in str(state.message), state


@pytest.mark.slurm
def test_a_refused_job_ends_the_flow_with_what_sbatch_said(size: dict[str, Any], tmp_path: Path) -> None:
    with SlurmCluster(minimum=1, maximum=1, queue="nowhere", **size) as cluster:
        state = all_gated.with_options(runner=DaskRunner(cluster))(2, str(tmp_path), return_state=True)
        assert "invalid partition" in str(state.message), state


def test_a_machine_without_the_commands_is_told(size: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with SlurmCluster(minimum=1, maximum=1, **size) as cluster:
        until(lambda: "sbatch cannot be called here: No such file" in cluster.why(), "the reason")


def test_a_cluster_that_cannot_start_says_why(size: dict[str, Any]) -> None:
    with pytest.raises(RunnerError, match="no_such_interface"):
        HereCluster(**size, interface="no_such_interface").scheduler_address  # noqa: B018
