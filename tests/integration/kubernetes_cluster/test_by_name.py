"""Clusters of pods with a name: started by a command, used by programs, ended by a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner
from anabranch.clusters.kubernetes.cluster import KubernetesCluster
from anabranch.clusters.kubernetes.objects import DASK_CLUSTERS
from tests.integration.clusters.by_name import command, own_home, status
from tests.integration.clusters.conftest import until
from tests.integration.kubernetes_cluster.conftest import ROOT, nothing_left
from tests.integration.kubernetes_cluster.sums import total

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.kubernetes.api import KubernetesApi

pytestmark = [
    pytest.mark.dask,
    pytest.mark.kubernetes,
    pytest.mark.timeout(300),
    pytest.mark.sampled(2, "the Dask operator makes and takes away a cluster"),
]

NIGHT = pytest.mark.nightly("by day one that has died is taken away")


@pytest.fixture
def home(dask_operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from own_home(tmp_path, monkeypatch)


def started(name: str) -> str:
    return command(
        "start", name, "--kind", "kubernetes", "--image", "anabranch/tests:1", "--cores", "0.5", "--memory", "500MiB",
        "--jobs", "1", "--env", f"PYTHONPATH={ROOT}",
    )  # fmt: skip


@NIGHT
def test_programs_use_it_and_it_stays_until_it_is_stopped(api: KubernetesApi, home: Path) -> None:
    assert 'runner=DaskRunner(cluster="fit")' in started("fit")
    assert total.with_options(runner=DaskRunner(cluster="fit"))(1000) == 500_500
    assert total.with_options(runner=DaskRunner(cluster="fit"))(10) == 55
    command("scale", "fit", "2")
    until(lambda: status("fit")["workers"] == 2, "two workers")
    said = command("logs", "fit")
    assert "==> fit-scheduler-" in said
    assert "==> fit-default-worker-" in said
    assert f"==> {home}/fit-" in said
    [first, _] = [job["name"] for job in status("fit")["jobs"]]
    assert command("logs", "fit", first).count("==>") == 1
    assert "no pod 'nothing' has a log" in command("logs", "fit", "nothing", code=1)
    assert "fit: its jobs and its process have ended" in command("stop", "fit")
    assert list(home.iterdir()) == []
    nothing_left(api)


def test_one_that_has_died_is_taken_away(api: KubernetesApi, home: Path) -> None:
    started("fit")
    os.kill(status("fit")["pid"], signal.SIGKILL)
    until(lambda: "has died" in command("status"), "its end is seen")
    assert api.objects(DASK_CLUSTERS)
    assert "Its pods are deleted" in command("stop", "fit")
    nothing_left(api)


PROGRAM = """
from anabranch import flow, task

@task
def plus_one(x):
    return x + 1

@flow
def total(n: int):
    print("the sum is", sum(plus_one.map(range(n)).result()))
"""


@NIGHT
def test_a_run_from_the_command_line_on_pods_of_its_own_and_on_those_of_others(
    api: KubernetesApi, size: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    program = tmp_path / "total.py"
    program.write_text(PROGRAM)

    def run(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "anabranch", "run", str(program), "-p", "n=1000", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "the sum is 500500" in run("--cluster", "kubernetes", "--image", "anabranch/tests:1", "--jobs", "1")
    nothing_left(api)
    with KubernetesCluster("fit", workers=1, **size) as cluster:
        assert cluster.scheduler_address
        assert "the sum is 500500" in run("--cluster", "kubernetes:fit")
        assert cluster.alive
    nothing_left(api)
    assert "needs --image" in run("--cluster", "kubernetes", code=2)
    assert "is there already" in run("--cluster", "fit", "--image", "i", code=2)
    assert "got 'slurm:fit'" in run("--cluster", "slurm:fit", code=2)


def test_a_dry_run_shows_the_manifest_and_starts_nothing(api: KubernetesApi, home: Path) -> None:
    words = ("start", "fit", "--kind", "kubernetes", "--cores", "2", "--memory", "4GiB", "--spot", "--dry-run")
    made = json.loads(command(*words, "--image", "team/flows:3", "--jobs", "1..5"))
    assert made["kind"] == "DaskCluster"
    assert made["metadata"]["namespace"] == api.namespace
    assert made["spec"]["worker"]["replicas"] == 1
    assert "affinity" in made["spec"]["worker"]["spec"]
    assert "needs --image" in command(*words, code=2)
    assert "takes no --queue" in command(*words, "--image", "i", "--queue", "long", code=2)
    assert "takes no --image" in command(
        "start", "fit", "--kind", "local", "--cores", "2", "--memory", "1GiB", "--image", "i", code=2
    )
    assert not home.exists()
    nothing_left(api)
