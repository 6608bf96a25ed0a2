"""Jobs of several nodes in a real Slurm: workers on all of them, nodes that fail, jobs that give way, accelerators.

The nodes are one machine with three slurmds, so what differs between real machines (clocks, file systems, networks) is
the same here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.pilot.conftest import FLOWS, ROOT, Jobs, until
from tests.slurm_nodes import NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.slurm_nodes import SlurmNodes

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600), pytest.mark.sampled(5, "jobs on several nodes for each")]
SOON = 200.0  # seconds after an urgent job was submitted; the grace is one of 300
RAY = pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.nightly("Ray takes longer to start; by day on Dask")])
TWO_NODES = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2"]


@pytest.fixture
def cluster(slurm_nodes: SlurmNodes, tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def gated(jobs: Jobs, runner: str) -> str:
    folder, gate = jobs.folder / "noted", jobs.folder / "gate"
    folder.mkdir()
    words = ["-p", f"folder={folder}", "-p", f"gate={gate}", "-p", f"out={jobs.folder}/out", "--runner", runner]
    return jobs.pilot("gated", *words)


def noted(jobs: Jobs) -> dict[int, list[str]]:
    return {int(file.name): file.read_text().split() for file in (jobs.folder / "noted").iterdir()}


def told(jobs: Jobs) -> int:
    """How many items have begun; those from 50 on wait for the gate."""
    return len(list((jobs.folder / "noted").iterdir()))


def node_of_script(job: str) -> str:
    done = subprocess.run(["scontrol", "show", "job", "-o", job], capture_output=True, text=True, check=True)
    return dict(word.partition("=")[::2] for word in done.stdout.split())["BatchHost"]


def nodes_of(job: str) -> list[str]:
    done = subprocess.run(["squeue", "-h", "-j", job, "-o", "%N"], capture_output=True, text=True, check=True)
    unfold = ["scontrol", "show", "hostnames", done.stdout.strip()]
    return subprocess.run(unfold, capture_output=True, text=True, check=True).stdout.split()


def start_again(jobs: Jobs, job: str) -> None:
    """Slurm holds a requeued job back for two minutes; this one may start at once."""
    until(lambda: jobs.state(job) == "PENDING", jobs.log, job)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


def finished_right(jobs: Jobs, job: str) -> None:
    jobs.completed(job)
    assert (jobs.folder / "out").read_text() == str(sum(range(100)))
    attempts = noted(jobs)
    assert sorted(attempts) == list(range(100))
    assert [x for x in range(40) if len(attempts[x]) > 1] == [], jobs.log(job)


@pytest.mark.dask
@pytest.mark.parametrize("runner", ["dask", RAY])
def test_workers_on_all_nodes(cluster: Jobs, runner: str) -> None:
    words = ["-p", "count=2", "-p", "seconds=150", "-p", f"out={cluster.folder}/out"]
    job = cluster.submit(cluster.pilot("on_nodes", *words, "--runner", runner), *TWO_NODES)
    until(lambda: len(nodes_of(job)) == 2, cluster.log, job)
    nodes = nodes_of(job)
    cluster.completed(job)
    assert json.loads((cluster.folder / "out").read_text()) == nodes
    assert "2 nodes, 4 processors" in cluster.log(job)
    assert not any("driver" in file for file in cluster.left())  # the file with the key


@pytest.mark.dask
def test_a_run_that_is_submitted_to_two_nodes(cluster: Jobs) -> None:
    """By `anabranch submit` itself, which writes the script; its note is of jobs that ask for no processors."""
    words = ["-p", "count=2", "-p", "seconds=150", "-p", f"out={cluster.folder}/out", "--runner", "dask"]
    asked = ["--nodes", "2", "--cpus", "2", "--time", "10", "--wait"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "anabranch", "submit", "slurm", f"{FLOWS}:on_nodes", *words, *asked],
        capture_output=True, text=True, timeout=300, cwd=cluster.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ANABRANCH_HOME": str(cluster.home)},
    )  # fmt: skip
    log = "".join(file.read_text() for file in cluster.home.glob("jobs/*/log"))
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert "ended as Completed" in done.stdout
    assert "one processor" not in done.stderr
    assert "2 nodes, 4 processors" in log
    found = json.loads((cluster.folder / "out").read_text())
    assert len(found) == 2
    assert set(found) <= set(NAMES)


@pytest.mark.dask
@pytest.mark.nightly("Slurm takes its time to miss a node")
@pytest.mark.parametrize("which", ["of the driver", "of workers"])
def test_a_node_that_fails(cluster: Jobs, slurm_nodes: SlurmNodes, which: str) -> None:
    """Slurm queues the job again; on the nodes that are left it goes on, and what had ended is not repeated."""
    job = cluster.submit(gated(cluster, "dask"), *TWO_NODES, "--requeue")
    until(lambda: told(cluster) > 50, cluster.log, job)
    drivers = node_of_script(job)
    lost = drivers if which == "of the driver" else next(name for name in nodes_of(job) if name != drivers)
    slurm_nodes.kill_node(lost)
    try:
        start_again(cluster, job)
        (cluster.folder / "gate").touch()
        finished_right(cluster, job)
    finally:
        slurm_nodes.start_node(lost)
        slurm_nodes.wait_for(lost, "idle")


@pytest.mark.dask
@pytest.mark.nightly("a job that starts twice")
def test_a_job_that_gives_way_to_an_urgent_one(cluster: Jobs) -> None:
    """Preempted: it ends within its grace, what runs is awaited and nothing begins, and it goes on later."""
    job = cluster.submit(gated(cluster, "dask"), "--nodes=3", "--ntasks-per-node=1", "--cpus-per-task=2", "--requeue")
    until(lambda: told(cluster) > 50, cluster.log, job)
    submitted = time.monotonic()
    urgent = cluster.submit("exec true", "--partition=urgent", "--nodes=3", "--exclusive")
    until(lambda: "Nothing new begins" in cluster.log(job), cluster.log, job)
    assert time.monotonic() - submitted < SOON, "the grace had nearly passed when the driver heard of it"
    assert (cluster.state(job), cluster.state(urgent)) == ("RUNNING", "PENDING")
    (cluster.folder / "gate").touch()  # what waits there ends now; before, others would have begun
    start_again(cluster, job)
    assert told(cluster) < 100, cluster.log(job)
    assert cluster.ended(urgent) == ["COMPLETED"]
    finished_right(cluster, job)


@pytest.mark.dask
def test_gpus_that_slurm_gives_to_a_job(cluster: Jobs) -> None:
    """Of the two on its node the job asked for two: each item that asks for one sees one."""
    line = cluster.pilot("devices", "-p", f"out={cluster.folder}/out")
    job = cluster.submit(line, "--ntasks=1", "--cpus-per-task=2", "--gres=gpu:2")
    cluster.completed(job)
    assert set(json.loads((cluster.folder / "out").read_text())) == {"0", "1"}


@pytest.mark.dask
def test_the_pilot_under_the_users_own_srun_on_two_nodes(cluster: Jobs) -> None:
    words = ["-p", "count=2", "-p", "seconds=150", "-p", f"out={cluster.folder}/out", "--runner", "dask"]
    job = cluster.submit(cluster.pilot("on_nodes", *words, srun="--ntasks=2"), *TWO_NODES)
    until(lambda: len(nodes_of(job)) == 2, cluster.log, job)
    nodes = nodes_of(job)
    cluster.completed(job)
    assert json.loads((cluster.folder / "out").read_text()) == nodes, cluster.log(job)
    assert cluster.log(job).count("Beginning flow run") == 1


def test_ranks_of_a_step_on_two_nodes_with_a_gpu_each(cluster: Jobs) -> None:
    line = cluster.pilot("stepped_apart", "-p", "gpus=1", "-p", f"out={cluster.folder}/out", "--runner", "process")
    job = cluster.submit(line, *TWO_NODES, "--gres=gpu:2")
    until(lambda: len(nodes_of(job)) == 2, cluster.log, job)
    nodes = sorted(nodes_of(job))
    cluster.completed(job)
    for ranks in json.loads((cluster.folder / "out").read_text()):
        assert [rank.split()[0] for rank in ranks] == nodes, cluster.log(job)
        assert all(rank.split()[1] in ("0", "1") for rank in ranks), ranks
