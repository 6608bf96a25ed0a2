"""Releases on a real API server, whose pods are processes: installed, tested, changed, rolled back, taken away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.helm.tools import CHART, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.helm.tools import Tools

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(400),
    pytest.mark.sampled(2, "a release from install to uninstall"),
]
DRIVERS = "app.kubernetes.io/component=driver"
FLOW = """
import os
from anabranch import flow, task

@task
def square(x: int) -> int:
    return x * x

@flow
def survey(n: int) -> int:
    print("workers:", os.environ["DASK_SCHEDULER_ADDRESS"])
    return sum(square.map(range(n)).result())
"""


class Release:
    """A release of the chart, whose flow and record lie in a folder that pods see."""

    def __init__(self, tools: Tools, namespace: str, folder: Path) -> None:
        self.tools, self.namespace, self._folder = tools, namespace, folder
        (folder / "survey.py").write_text(FLOW)
        self.values: dict[str, Any] = {
            "extraEnv": [{"name": "PYTHONPATH", "value": str(ROOT)}],
            "flows": {"survey": {"target": f"{folder}/survey.py", "runner": "dask", "params": {"n": 1000}}},
        }

    def helm(self, verb: str, *words: str) -> str:
        """Install or upgrade it with its present values, and wait until its pods are ready."""
        place = ("rel", str(CHART), "-f", str(CHART / "ci/shared.yaml"), "-f", "-", "--wait", "--timeout", "90s")
        return self.tools.said("helm", verb, *place, *words, given=json.dumps(self.values))

    def kubectl(self, *words: str) -> str:
        return self.tools.said("kubectl", "-n", self.namespace, *words)

    def completed(self) -> list[str]:
        """Wait for all Jobs to complete; returns their names."""
        self.kubectl("wait", "--for=condition=complete", "--timeout=180s", "job", "-l", DRIVERS)
        return self.kubectl("get", "jobs", "-l", DRIVERS, "-o", "name").split()

    def uids(self) -> set[str]:
        return set(self.kubectl("get", "jobs", "-o", "jsonpath={.items[*].metadata.uid}").split())

    def runs(self) -> list[tuple[str, str]]:
        """Return (flow, state) of what is recorded, newest first."""
        words = [sys.executable, "-m", "anabranch", "runs", "--json"]
        record = {"ANABRANCH_RECORDS": f"{self._folder}/data/records.db", "ANABRANCH_HOME": f"{self._folder}/home"}
        variables = {**self.tools.variables, **record, "PYTHONPATH": str(ROOT)}
        found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True, env=variables).stdout)
        return [(one["flow"], one["state"]) for one in found["runs"]]

    def keeps_its_data(self) -> None:
        """Give it a volume; pods see the folder itself, where they are processes."""
        name = f"rel-{self.namespace}"
        place = {"path": f"{self._folder}/data", "type": "DirectoryOrCreate"}
        size = {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteMany"]}
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
        volume["spec"] = {**size, "storageClassName": name, "hostPath": place}
        self.tools.said("kubectl", "apply", "-f", "-", given=json.dumps(volume))
        self.values["persistence"] = {"enabled": True, "storageClass": name, "mountPath": f"{self._folder}/data"}

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not true():
            assert time.monotonic() < end, self.kubectl("get", "all")
            time.sleep(0.2)

    def tested(self) -> str:
        return self.tools.said("helm", "-n", self.namespace, "test", "rel", "--logs", "--timeout", "120s")

    def left(self) -> list[str]:
        """Return what is there of the release, without pods that are ending."""
        kinds = "deployments,daskclusters,jobs,services,configmaps,secrets,serviceaccounts,roles,persistentvolumeclaims"
        known = self.tools.tried("kubectl", "api-resources", "-o", "name").stdout
        there = [kind for kind in kinds.split(",") if f"\n{kind}" in f"\n{known}"]
        mine = "app.kubernetes.io/instance=rel"
        return self.kubectl("get", ",".join(there), "-l", mine, "-o", "name").split()


@contextmanager
def in_namespace(tools: Tools, namespace: str, folder: Path) -> Iterator[Release]:
    try:
        yield Release(tools, namespace, folder)
    finally:
        tools.tried("helm", "-n", namespace, "uninstall", "rel", "--ignore-not-found", "--wait", "--timeout", "60s")
        tools.tried("kubectl", "delete", "persistentvolume", f"rel-{namespace}", "--ignore-not-found", "--wait=false")


@pytest.fixture
def release(tools: Tools, kubernetes: str, tmp_path: Path) -> Iterator[Release]:
    with in_namespace(tools, kubernetes, tmp_path) as made:
        yield made


def test_a_release_lives_from_install_to_uninstall(release: Release) -> None:
    release.keeps_its_data()
    release.helm("install")
    (first,) = release.completed()
    assert release.runs() == [("survey", "Completed")]
    assert f"workers: tcp://rel-anabranch-scheduler.{release.namespace}.svc:8786" in release.kubectl("logs", first)
    assert "100 items on dask: 328350" in release.tested()

    ran = release.uids()
    release.values["dask"] = {"workers": {"replicas": 1}}
    release.helm("upgrade")
    assert release.kubectl("get", "deployment", "rel-anabranch-worker", "-o", "jsonpath={.status.readyReplicas}") == "1"
    assert release.uids() == ran, "an upgrade that changes nothing about a Job ran it again"

    release.values["flows"]["survey"]["params"] = {"n": 10}
    release.helm("upgrade")
    (second,) = release.completed()
    assert second != first
    assert "square: map of 1,000 items" not in release.kubectl("logs", second)

    release.tools.said("helm", "rollback", "rel", "1", "--wait", "--timeout", "180s")
    assert release.completed() == [first]
    assert release.kubectl("get", "deployment", "rel-anabranch-worker", "-o", "jsonpath={.spec.replicas}") == "2"
    assert [state for flow, state in release.runs() if flow == "survey"] == ["Completed"] * 3

    release.tools.said("helm", "uninstall", "rel", "--wait", "--timeout", "60s")
    assert release.left() == ["persistentvolumeclaim/rel-anabranch-data"]


def test_a_flow_that_fails_fails_the_installation(release: Release) -> None:
    release.values["flows"]["survey"]["params"] = {"m": 1}
    with pytest.raises(AssertionError, match="Job Failed"):
        release.helm("install", "--wait-for-jobs")  # `--wait` alone is over once the pods are ready
    assert "flow 'survey' has no parameter 'm'" in release.kubectl("logs", "-l", DRIVERS)


@pytest.mark.nightly("a release of its own; what is rendered for TLS is a test of the day")
def test_with_tls_only_programs_with_a_certificate_reach_the_scheduler(release: Release) -> None:
    release.values["dask"] = {"tls": {"enabled": True}}
    release.helm("install")
    assert "100 items on dask: 328350" in release.tested()
    (job,) = release.completed()
    assert "workers: tls://" in release.kubectl("logs", job)
    key = ("get", "secret", "rel-anabranch-dask-tls", "-o", "jsonpath={.data}")
    before, ran = release.kubectl(*key), release.uids()
    for scheme in ("tcp", "tls"):
        address = f"{scheme}://rel-anabranch-scheduler.{release.namespace}.svc:8786"
        program = f"import distributed; distributed.Client({address!r}, timeout='5s')"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, f"a program without a certificate reached {address}"

    release.values["dask"]["workers"] = {"replicas": 1}
    release.helm("upgrade")
    assert (release.kubectl(*key), release.uids()) == (before, ran), "an upgrade made other certificates"


@pytest.mark.nightly("a second API server; the operator itself is a test of KubernetesCluster")
def test_the_operator_makes_the_cluster_of_a_release(tools: Tools, dask_operator: str, tmp_path: Path) -> None:
    with in_namespace(tools, dask_operator, tmp_path) as release:
        release.values |= {"dask": {"mode": "operator"}, "networkPolicy": {"enabled": True}}
        release.helm("install")
        release.completed()
        assert "100 items on dask: 328350" in release.tested()
        mine = "app.kubernetes.io/name=anabranch,app.kubernetes.io/instance=rel"  # whom the NetworkPolicy lets in
        pods = release.kubectl("get", "pods", "-l", f"{mine},dask.org/cluster-name=rel-anabranch", "-o", "name").split()
        assert len(pods) == 3

        release.values["dask"]["workers"] = {"replicas": 3}
        release.helm("upgrade")
        workers = "jsonpath={.items[*].metadata.labels.dask\\.org/component}"
        release.until(lambda: release.kubectl("get", "deployments", "-o", workers).split().count("worker") == 3)
        tools.said("helm", "-n", dask_operator, "uninstall", "rel", "--wait", "--timeout", "60s")
        release.until(lambda: release.left() == [])
