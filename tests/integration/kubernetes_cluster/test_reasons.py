"""Why a cluster of pods is not ready, in a sentence that says what to do; and what is not taken from others."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from anabranch import DaskRunner
from anabranch.clusters.kubernetes.cluster import KubernetesCluster
from anabranch.clusters.kubernetes.objects import RIGHTS
from anabranch.core.errors import RunnerError
from anabranch.kubernetes.resources import PODS, SECRETS, Resource
from tests.integration.clusters.conftest import until
from tests.integration.kubernetes_cluster.conftest import left, nothing_left
from tests.integration.kubernetes_cluster.sums import total

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.kubernetes.api import KubernetesApi

pytestmark = [
    pytest.mark.dask,
    pytest.mark.kubernetes,
    pytest.mark.timeout(300),
    pytest.mark.sampled(4, "the Dask operator is asked for a cluster"),
]

NIGHT = pytest.mark.nightly("one of several reasons")

NODES = Resource("nodes", "", "v1", "Node", namespaced=False)
QUOTAS = Resource("resourcequotas", "", "v1", "ResourceQuota")
ACCOUNTS = Resource("serviceaccounts", "", "v1", "ServiceAccount")
ROLES = Resource("roles", "rbac.authorization.k8s.io", "v1", "Role")
BINDINGS = Resource("rolebindings", "rbac.authorization.k8s.io", "v1", "RoleBinding")


def refused(size: dict[str, Any], **more: Any) -> str:
    """What is said of a cluster that does not start."""
    cluster = KubernetesCluster(workers=1, **{**size, **more})
    with pytest.raises(RunnerError) as caught:
        cluster.scheduler_address  # noqa: B018
    cluster.close()
    return str(caught.value)


def test_an_image_that_cannot_be_had_is_told_in_half_a_minute(api: KubernetesApi, size: dict[str, Any]) -> None:
    """Pods of the bed need no image: of a node that the test makes, it says what its kubelet would."""
    name = f"node-{time.monotonic_ns()}"
    api.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    there = {"spec": {"nodeName": name, "tolerations": [{"operator": "Exists"}]}}
    try:
        more = {"image": "nowhere/no:1", "scheduler_template": there, "tolerations": ()}
        cluster = KubernetesCluster(workers=1, **{**size, **more})
        begun = time.monotonic()
        cluster.start()
        until(lambda: [pod for pod in api.objects(PODS) if pod["spec"].get("nodeName") == name], "its pod is placed")
        for pod in api.objects(PODS):
            waits = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "nowhere/no:1"'}}
            status = {"name": "scheduler", "image": "nowhere/no:1", "imageID": "", "ready": False, "restartCount": 0}
            body = {"status": {"phase": "Pending", "containerStatuses": [{**status, "state": waits}]}}
            api.patch(PODS, pod["metadata"]["name"], body, part="status")
        with pytest.raises(RunnerError, match=r"image nowhere/no:1 cannot be had \(ImagePullBackOff\)"):
            cluster.scheduler_address  # noqa: B018
        assert time.monotonic() - begun < 30.0
    finally:
        api.delete(NODES, name)
        until(lambda: cleared(api), "nothing is left")


def cleared(api: KubernetesApi) -> bool:
    """Delete the pods of a node that is none, since no kubelet does; some may be made anew meanwhile."""
    for pod in api.objects(PODS):
        api.delete(PODS, pod["metadata"]["name"], grace=0)
    return not left(api)


@NIGHT
def test_a_pod_that_no_node_can_take_is_told(api: KubernetesApi, size: dict[str, Any]) -> None:
    nowhere = {"spec": {"nodeSelector": {"no": "node"}}}
    said = refused(size, scheduler_template=nowhere, start_timeout=6.0)
    assert "is not ready after 6 s: no node fits: 0/2 nodes are available" in said
    nothing_left(api)


@NIGHT
def test_a_scheduler_that_dies_again_and_again_is_told_with_its_last_lines(
    api: KubernetesApi, size: dict[str, Any]
) -> None:
    """As with an image that has no anabranch."""
    said = refused(size, env={"PYTHONPATH": "/nowhere", "PYTHONSAFEPATH": "1"}, scheduler_template={"spec": {
        "containers": [{"args": ["python", "-c", "import no_such_module"]}]}})  # fmt: skip
    assert "died" in said
    assert "No module named 'no_such_module'" in said
    nothing_left(api)


@NIGHT
def test_a_secret_that_is_missing_is_told(api: KubernetesApi, size: dict[str, Any]) -> None:
    said = refused(size, secrets=["no-such-secret"], start_timeout=20.0)
    assert "no-such-secret" in said


@NIGHT
def test_a_quota_that_is_full_is_told(api: KubernetesApi, size: dict[str, Any]) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    api.create(QUOTAS, quota)
    until(lambda: (api.get(QUOTAS, "few").get("status") or {}).get("hard"), "it counts")
    said = refused(size, start_timeout=8.0)
    assert "quota few is full" in said
    nothing_left(api)


@NIGHT
def test_workers_that_cannot_start_end_the_flow_with_the_reason(api: KubernetesApi, size: dict[str, Any]) -> None:
    broken = {"spec": {"containers": [{"args": ["python", "-c", "import no_such_module"]}]}}
    with KubernetesCluster(workers=1, worker_template=broken, **size) as cluster:
        state = total.with_options(runner=DaskRunner(cluster))(3, return_state=True)
        assert "No module named 'no_such_module'" in str(state.message), state
        assert "no worker can start" in cluster.why()


def test_a_kubernetes_without_the_operator_is_told(kubernetes: str, tmp_path: Path) -> None:
    said = refused({"image": "i", "home": tmp_path})
    assert "the Dask operator is not installed in this Kubernetes cluster" in said
    assert "helm install" in said


def test_a_namespace_that_is_not_there_is_told(api: KubernetesApi, size: dict[str, Any]) -> None:
    assert "there is no namespace nowhere" in refused(size, namespace="nowhere")


def test_each_right_that_is_missing_is_named_before_anything_is_made(
    api: KubernetesApi, dask_operator: str, size: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The role of the documentation is enough; without two of its verbs these are named."""
    _login_as("flows", api, dask_operator, monkeypatch, tmp_path)
    _grant(api, {resource: list(verbs) for resource, verbs in RIGHTS})
    with KubernetesCluster(workers=1, **size) as cluster:
        until(lambda: cluster.status()["workers"] == 1, "it has its worker")
        cluster.scale(2)
        until(lambda: cluster.status()["workers"] == 2, "it may scale")
        cluster.scale(1)
        until(lambda: cluster.status()["workers"] == 1, "down too")
    nothing_left(api)
    less = {resource: [verb for verb in verbs if verb not in ("delete", "watch")] for resource, verbs in RIGHTS}
    _grant(api, less)
    said = refused(size)
    for missing in ("delete daskclusters.kubernetes.dask.org", "delete deployments.apps", "watch pods"):
        assert missing in said
    assert "kubectl auth can-i delete daskclusters.kubernetes.dask.org -n" in said
    nothing_left(api)


def _login_as(
    account: str, api: KubernetesApi, namespace: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Make KUBECONFIG that of a service account."""
    api.create(ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    mark = {"kubernetes.io/service-account.name": account}
    body = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token"}
    api.create(SECRETS, {**body, "metadata": {"name": f"{account}-login", "annotations": mark}})
    found = until(lambda: (api.get(SECRETS, f"{account}-login").get("data") or {}).get("token"), "its token")
    config = yaml.safe_load((folder / "kubeconfig").read_text())
    config["users"][0]["user"] = {"token": base64.b64decode(found).decode()}
    path = folder / "of-account"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))


def _grant(api: KubernetesApi, rights: dict[Resource, list[str]]) -> None:
    rules = [{"apiGroups": [one.group], "resources": [one.plural], "verbs": verbs} for one, verbs in rights.items()]
    rules.append({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]})
    group = "rbac.authorization.k8s.io"
    api.delete(ROLES, "flows")
    api.create(ROLES, {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "flows"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "flows", "namespace": api.namespace}
    reference = {"apiGroup": group, "kind": "Role", "name": "flows"}
    body = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "subjects": [subject], "roleRef": reference}
    api.delete(BINDINGS, "flows")
    api.create(BINDINGS, {**body, "metadata": {"name": "flows"}})


def test_a_name_that_is_taken_stays_its_owners(api: KubernetesApi, size: dict[str, Any]) -> None:
    """It is told, neither used nor deleted; by attach it is used, and left as it is."""
    with KubernetesCluster("fit", workers=1, **size) as first:
        assert first.scheduler_address
        said = refused({**size, "name": "fit"})
        assert "there is a DaskCluster fit" in said
        assert "KubernetesCluster.attach('fit')" in said
        used = KubernetesCluster.attach("fit")
        assert total.with_options(runner=DaskRunner(used))(10) == 55
        used.scale(2)
        until(lambda: first.status()["workers"] == 2, "its holder has heard of it")
        used.close()
        assert first.status()["workers"] == 2
        with pytest.raises(RunnerError, match=r"no DaskCluster 'fat' in namespace .* \(there are: fit\)"):
            KubernetesCluster.attach("fat")
    nothing_left(api)


@NIGHT
def test_a_way_through_the_api_server(api: KubernetesApi, size: dict[str, Any]) -> None:
    with KubernetesCluster(workers=1, address="forward", **size) as cluster:
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        assert total.with_options(runner=DaskRunner(cluster))(1000) == 500_500
    nothing_left(api)


@NIGHT
def test_workers_on_spot_and_the_scheduler_never(api: KubernetesApi, size: dict[str, Any]) -> None:
    api.patch(NODES, "node-2", {"metadata": {"labels": {"karpenter.sh/capacity-type": "spot"}}})
    try:
        with KubernetesCluster(workers=2, spot=True, **size) as cluster:
            until(lambda: cluster.status()["workers"] == 2, "two workers")
            places = {(pod["metadata"]["labels"]["dask.org/component"], pod["spec"]["nodeName"])
                      for pod in api.objects(PODS)}  # fmt: skip
            assert places == {("scheduler", "node-1"), ("worker", "node-2")}
    finally:
        api.patch(NODES, "node-2", {"metadata": {"labels": {"karpenter.sh/capacity-type": None}}})
    nothing_left(api)
