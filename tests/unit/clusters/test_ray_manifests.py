"""What is handed to KubeRay's operator, and what is refused before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anabranch.clusters.kubernetes import ray_manifests
from anabranch.clusters.kubernetes.ray_cluster import RayOnKubernetes


def made(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RayOnKubernetes("fit", image="i", ray_version="2.60.0", **more).render("team"))
    return found


def test_token_and_autoscaler_are_written_out() -> None:
    """Left out they are none, whatever the documentation says."""
    spec = made(idle=90)["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] == 90
    assert spec["rayVersion"] == "2.60.0"


def test_the_head_has_no_task_and_workers_are_between_their_bounds() -> None:
    spec = made(minimum=1, maximum=9, cpus=2, memory="8 GiB", gpus=1)["spec"]
    head, [group] = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0"}
    assert head["serviceType"] == "ClusterIP"
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (1, 1, 9)
    assert group["rayStartParams"]["num-cpus"] == "2"
    [container] = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "8192Mi", "nvidia.com/gpu": "1"}


def test_pods_are_not_evicted_and_workers_have_no_rights() -> None:
    spec = made(spot=True)["spec"]
    head, worker = spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]
    for one in (head, worker):
        assert one["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        assert one["spec"]["volumes"][0]["emptyDir"]["medium"] == "Memory"
    assert worker["spec"]["automountServiceAccountToken"] is False
    assert "automountServiceAccountToken" not in head["spec"], "the autoscaler beside it asks for pods"

    def operator(template: dict[str, Any]) -> str:
        affinity = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        return str(affinity["nodeSelectorTerms"][0]["matchExpressions"][0]["operator"])

    assert (operator(head), operator(worker)) == ("NotIn", "In")


def test_all_containers_are_admitted_where_root_is_not() -> None:
    """KubeRay puts the autoscaler into the head's pod, as its options say."""
    spec = made()["spec"]
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["autoscalerOptions"]["securityContext"] == locked
    for template in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert template["spec"]["containers"][0]["securityContext"] == locked


def test_pods_are_probed_at_ports_that_ray_itself_answers() -> None:
    """KubeRay adds its own where there are none: they ask the dashboard agent, which not every image has."""
    spec = made()["spec"]
    [group] = spec["workerGroupSpecs"]
    for template, name, port in (
        (spec["headGroupSpec"]["template"], "gcs-server", 6379), (group["template"], "node-manager", 6380),
    ):  # fmt: skip
        [container] = template["spec"]["containers"]
        assert {one["name"]: one["containerPort"] for one in container["ports"]}[name] == port
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["tcpSocket"] == {"port": name}
    assert group["rayStartParams"]["node-manager-port"] == "6380"


def test_a_template_reaches_the_head() -> None:
    spec = made(head_template={"spec": {"serviceAccountName": "reader"}})["spec"]
    assert spec["headGroupSpec"]["template"]["spec"]["serviceAccountName"] == "reader"


def test_the_head_is_reached_by_its_service() -> None:
    assert ray_manifests.head_service("fit", "team") == "fit-head-svc.team.svc:6379"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ray_version": "2.53.1"}, "ray_version is 2.54 at least"),
        ({"ray_version": "nightly"}, "ray_version is 2.54 at least"),
        ({"name": "1st"}, "a letter first"),
        ({"name": "x" * 54}, "at most 53"),
        ({"minimum": 3, "maximum": 2}, "minimum must be"),
        ({"memory": 0}, "memory must be"),
        ({"head_template": {"kind": "Pod"}}, "head_template has a pod's metadata and spec, and no kind"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RayOnKubernetes(**{"image": "i", "ray_version": "2.60.0", **options})
