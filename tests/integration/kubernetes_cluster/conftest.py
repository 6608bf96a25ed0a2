"""Dask clusters on a real Kubernetes API with the real operator: a namespace a test, and nothing left in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.clusters.kubernetes.objects import DASK_CLUSTERS, WORKER_GROUPS
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.resources import DEPLOYMENTS, PODS, SERVICES
from tests.integration.clusters.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.kubernetes.resources import Resource

ROOT = Path(__file__).resolve().parents[3]
LEFT: tuple[Resource, ...] = (DASK_CLUSTERS, WORKER_GROUPS, DEPLOYMENTS, SERVICES, PODS)
QUICK = [  # nodes that are lost are left at once: a bed has no 30 s to wait
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    for what in ("not-ready", "unreachable")
]


@pytest.fixture
def api(dask_operator: str) -> Iterator[KubernetesApi]:
    with KubernetesApi() as api:
        yield api


@pytest.fixture
def size(dask_operator: str, tmp_path: Path) -> dict[str, Any]:
    """The options of a small cluster in the test's namespace; its pods find anabranch and the test's folder."""
    return {
        "image": "anabranch/tests:1", "memory": "500 MiB", "cpus": 0.5, "tolerations": QUICK,
        "env": {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}, "home": tmp_path / "clusters",
    }  # fmt: skip


def left(api: KubernetesApi) -> list[str]:
    """What is there of clusters; pods that are ending count."""
    return [f"{resource.kind} {one['metadata']['name']}" for resource in LEFT for one in api.objects(resource)]


def nothing_left(api: KubernetesApi, seconds: float = 60.0) -> None:
    until(lambda: not left(api), f"nothing is left, and there are {left(api)}", seconds)


def workers(api: KubernetesApi) -> list[dict[str, Any]]:
    """The workers' pods that are not ending."""
    pods = api.objects(PODS, labels="dask.org/component=worker")
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
