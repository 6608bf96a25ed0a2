"""The ends of a cluster of pods: its driver closes it, is interrupted, is killed; the operator stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.clusters.kubernetes.cluster import KubernetesCluster
from anabranch.clusters.kubernetes.objects import DASK_CLUSTERS
from anabranch.core.errors import RunnerError
from anabranch.kubernetes.resources import JOBS, PODS
from tests.integration.clusters.conftest import until
from tests.integration.kubernetes_cluster.conftest import left, nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.kubernetes.api import KubernetesApi

pytestmark = [
    pytest.mark.dask,
    pytest.mark.kubernetes,
    pytest.mark.timeout(300),
    pytest.mark.sampled(3, "the Dask operator makes and takes away a cluster"),
]

NIGHT = pytest.mark.nightly("one of several ends")

# A driver in the midst of a flow on its cluster; it writes the pid of the cluster's holder.
DRIVER = """
import os, sys, time
from anabranch import DaskRunner, KubernetesCluster, flow, task

@task
def held(x):
    open(f"{sys_folder}/item", "w").close()
    time.sleep(600)

@flow(on_exit="cancel")
def all_held():
    return held.map(range(2)).result()

sys_folder = sys.argv[1]
options = dict(image="i", memory="500 MiB", cpus=0.5, workers=1, idle_timeout=30, env={"PYTHONPATH": sys.argv[2]})
if __name__ == "__main__":
    with KubernetesCluster(home=sys_folder + "/clusters", **options) as cluster:
        pid = cluster.status()["pid"]
        open(f"{sys_folder}/holder.new", "w").write(str(pid))
        os.rename(f"{sys_folder}/holder.new", f"{sys_folder}/holder")
        all_held.with_options(runner=DaskRunner(cluster))()
"""


@pytest.fixture
def driver(size: dict[str, Any], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a driver, which is in an item of its flow when it is given."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    begun: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(script), str(tmp_path), size["env"]["PYTHONPATH"]]
        begun.append(subprocess.Popen(command, start_new_session=True))
        until(lambda: (tmp_path / "item").exists() or begun[-1].poll() is not None, "an item has begun")
        assert begun[-1].poll() is None
        return begun[-1]

    yield start
    for one in begun:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()


@NIGHT
def test_ctrl_c_leaves_nothing(api: KubernetesApi, driver: Callable[[], Any]) -> None:
    program = driver()
    assert left(api)
    os.killpg(program.pid, signal.SIGINT)
    program.wait(60)
    nothing_left(api)


def test_a_driver_that_is_killed_leaves_nothing(api: KubernetesApi, driver: Callable[[], Any]) -> None:
    program = driver()
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    nothing_left(api)


@pytest.mark.nightly("the operator waits for half a minute")
def test_driver_and_holder_that_are_killed_leave_it_to_the_operator(
    api: KubernetesApi, driver: Callable[[], Any], tmp_path: Path
) -> None:
    """Its one item sleeps for long: the cluster is idle once the driver's connection is gone."""
    program = driver()
    os.kill(int((tmp_path / "holder").read_text()), signal.SIGKILL)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    assert api.objects(DASK_CLUSTERS)
    nothing_left(api, 100.0)


@NIGHT
def test_the_next_start_takes_away_what_was_left_behind(
    api: KubernetesApi, size: dict[str, Any], driver: Callable[[], Any], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    program = driver()
    os.kill(int((tmp_path / "holder").read_text()), signal.SIGKILL)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    [before] = api.objects(DASK_CLUSTERS)
    with KubernetesCluster(workers=1, **size) as cluster:
        assert cluster.scheduler_address
        until(lambda: [one["metadata"]["name"] for one in api.objects(DASK_CLUSTERS)] == [cluster.name], "one is left")
    assert f"{before['metadata']['name']} was left behind by a program that has died" in capfd.readouterr().err
    nothing_left(api)


@NIGHT
def test_a_cluster_goes_with_the_job_of_its_driver(
    api: KubernetesApi, size: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [
        {"name": "driver", "image": "i", "command": ["sleep", "600"]}]}}}}  # fmt: skip
    api.create(JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "driver"}, **body})
    [pod] = until(lambda: api.objects(PODS), "its pod")
    monkeypatch.setenv("ANABRANCH_POD_NAME", pod["metadata"]["name"])
    with KubernetesCluster(workers=1, **size) as cluster:
        assert cluster.scheduler_address
        api.delete(JOBS, "driver")
        nothing_left(api)


@NIGHT
def test_a_stopped_operator_keeps_nobody_waiting(
    api: KubernetesApi, dask_operator_bed: str, size: dict[str, Any]
) -> None:
    """It has its hand on the cluster, and does not take it away."""
    lines = (Path(dask_operator_bed).parent / "processes").read_text().splitlines()
    operator = next(int(pid) for name, pid, _ in map(str.split, lines) if name == "dask-operator")
    cluster = KubernetesCluster(workers=1, **size)
    assert cluster.scheduler_address
    os.kill(operator, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        cluster.close()
        assert time.monotonic() - begun < 30.0
        assert not api.objects(DASK_CLUSTERS)
        with pytest.raises(RunnerError, match="no Dask operator has acted within"):
            KubernetesCluster(workers=1, **size).scheduler_address  # noqa: B018
    finally:
        os.kill(operator, signal.SIGCONT)
    nothing_left(api)


@pytest.mark.nightly("ten times the same")
@pytest.mark.timeout(600)
def test_ten_clusters_in_a_row_start_and_close(api: KubernetesApi, size: dict[str, Any]) -> None:
    for _ in range(10):
        with KubernetesCluster(workers=1, **size) as cluster:
            until(lambda cluster=cluster: cluster.status()["workers"] == 1, "its worker")
    nothing_left(api)
