"""Clusters of real Slurm jobs: they run flows, replace what dies, and end with their driver."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anabranch import DaskRunner, SlurmCluster, flow, task
from tests.integration.clusters.conftest import in_queue, until

pytestmark = [
    pytest.mark.dask,
    pytest.mark.slurm,
    pytest.mark.timeout(300),
    pytest.mark.sampled(4, "a cluster in jobs of Slurm for each"),
]


@task
def square(x: int) -> int:
    return x * x


@task(retries=0)
def gated(x: int, gate: str) -> int:
    """The first items end only once the gate is open."""
    import time

    if x < 2:
        Path(f"{gate}{x}").touch()
    while x < 2 and not os.path.exists(gate):
        time.sleep(0.05)
    return x


@flow
def squares(n: int) -> list[int]:
    return square.map(range(n)).result()


@flow
def all_gated(n: int, gate: str) -> list[int]:
    return gated.map(range(n), gate).result()


def test_a_flow_runs_in_jobs_and_they_end_with_the_cluster(slurm: str, size: dict[str, Any]) -> None:
    with SlurmCluster(minimum=2, maximum=2, **size) as cluster:
        assert squares.with_options(runner=DaskRunner(cluster))(2000) == [x * x for x in range(2000)]
        assert cluster.scheduler_address.startswith("tls://")
        assert until(lambda: cluster.status()["workers"] == 2, "two workers")
        until(lambda: cluster.why() == "", "all jobs run")
        logs = Path(cluster.status()["logs"])
    until(lambda: not in_queue(size["name"]), "the jobs end")
    assert not logs.exists(), "nothing is left of jobs that ended as they were to"
    assert not list(size["home"].rglob("*.pem"))


def test_a_job_that_is_killed_is_replaced_and_nothing_is_lost(slurm: str, size: dict[str, Any], tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    with SlurmCluster(minimum=2, maximum=2, **size) as cluster:
        cluster.start()
        until(lambda: cluster.status()["workers"] == 2, "two workers")
        done = all_gated.with_options(runner=DaskRunner(cluster)).submit(200, gate)
        before = in_queue(size["name"])
        until(lambda: os.path.exists(f"{gate}0") and os.path.exists(f"{gate}1"), "items run")
        subprocess.run(["scancel", before[0]], check=True)
        until(lambda: cluster.status()["submitted"] == 3, "a job in its place")
        until(lambda: cluster.status()["workers"] == 2, "two workers again")
        Path(gate).touch()
        assert done.result() == list(range(200))
        assert cluster.status()["lost"] == 1
        assert set(in_queue(size["name"])) != set(before)


DRIVER = """
import sys
from pathlib import Path
from anabranch import DaskRunner, SlurmCluster, flow, task

@task
def forever(x):
    import time
    while True:
        time.sleep(0.05)

@flow
def f():
    print("begun", flush=True)
    return forever.map(range(4)).result()

if __name__ == "__main__":
    name, home = sys.argv[1:]
    cluster = SlurmCluster(cores=1, memory="500 MiB", minimum=2, maximum=2, name=name, home=home)
    f.with_options(runner=DaskRunner(cluster))()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_job_outlives_its_driver(slurm: str, size: dict[str, Any], tmp_path: Path, how: signal.Signals) -> None:
    """A killed driver cannot cancel its jobs; at Ctrl-C it ends by itself, and Dask's libraries have no say in it."""
    program = tmp_path / "driver.py"
    program.write_text(DRIVER)
    command = [sys.executable, str(program), size["name"], str(size["home"])]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert driver.stdout is not None
    with driver, driver.stdout:
        assert any(line == "begun\n" for line in driver.stdout)
        until(lambda: len(in_queue(size["name"])) == 2 and list(size["home"].rglob("*.log")), "two jobs")
        driver.send_signal(how)
        said = driver.stdout.read()
        assert driver.wait() == -how, said
    assert ("Interrupted by Ctrl-C" in said) == (how == signal.SIGINT), said
    until(lambda: not in_queue(size["name"]), "the jobs end", 60.0)


def test_no_job_outlives_the_process_that_holds_it(slurm: str, size: dict[str, Any]) -> None:
    with SlurmCluster(minimum=1, maximum=1, **size) as cluster:
        until(lambda: cluster.status()["workers"] == 1, "a worker")
        os.kill(cluster.status()["pid"], signal.SIGKILL)
        until(lambda: not in_queue(size["name"]), "its job ends")
    assert not list(size["home"].rglob("*.pem"))


SHIM = """#!/bin/sh
{sbatch} "$@" || exit
[ -e {mark} ] || {{ touch {mark}; echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1; }}
"""


def test_a_submission_whose_answer_is_lost_leaves_no_job_behind(
    slurm: str, size: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first job is in the queue, but its number was never told: another one replaces it, and it is ended."""
    shim = tmp_path / "bin" / "sbatch"
    shim.parent.mkdir()
    shim.write_text(SHIM.format(sbatch=shutil.which("sbatch"), mark=tmp_path / "mark"))
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=os.pathsep)
    with SlurmCluster(minimum=1, maximum=1, **size) as cluster:
        cluster.start()
        until(lambda: cluster.status()["workers"] == 1 and cluster.status()["submitted"] == 2, "a job in its place")
        assert cluster.status()["trouble"] == ""
        ours = lambda: [job["id"] for job in cluster.status()["jobs"]]  # noqa: E731
        until(lambda: in_queue(size["name"]) == ours(), "the lost one is ended")


def test_the_handler_of_interrupts_stays_ours(slurm: str, size: dict[str, Any]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with SlurmCluster(minimum=0, maximum=1, **size) as cluster:
        assert "#SBATCH --cpus-per-task=1" in cluster.job_script()
        assert cluster.status()["jobs"] in ([], ())
    assert signal.getsignal(signal.SIGINT) is before
    assert "dask_jobqueue" not in sys.modules
