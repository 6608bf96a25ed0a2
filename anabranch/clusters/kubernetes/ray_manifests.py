"""The RayCluster resource that KubeRay's operator makes pods of: pure functions.

    RayCluster NAME --operator--> head: Ray's own server, no processors for tasks; autoscaler beside it
                              --> group "workers": minReplicas to maxReplicas, as the autoscaler decides
                              --> Service NAME-head-svc, Secret NAME with the token

Token and autoscaler are written out: without `authOptions` there is no token, and any program that reaches the head
runs code; pods get the restartPolicy Never, which the second autoscaler needs, only where its version is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes import pod_spec as pods
from anabranch.clusters.kubernetes.manifests import metadata
from anabranch.kubernetes.ours import STAYS, locked_down

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.clusters.kubernetes.pod_spec import PodSpec

PORT, CLIENT_PORT, PAGES_PORT = 6379, 10001, 8265
NODE_PORT = 6380  # of a worker's node manager; Ray would take any, and a probe has to know it
GROUP = "workers"
CLUSTER_OF, TYPE_OF = "ray.io/cluster", "ray.io/node-type"  # labels of the operator
TOKEN_KEY = "auth_token"  # in the Secret that has the cluster's name
LEAST_RAY = (2, 54)  # CVE-2026-27482; tokens came with 2.52
HEAD_CPU, HEAD_MEMORY = 1.0, 4 << 30
SHARED_PART = 0.3  # of a pod's memory, for Ray's object store in /dev/shm


def head_service(name: str, namespace: str) -> str:
    """Return where the head is reached inside of the Kubernetes cluster."""
    return f"{name}-head-svc.{namespace}.svc:{PORT}"


def ray_cluster(
    name: str, namespace: str, spec: PodSpec, *, minimum: int, maximum: int, version: str, idle: int, holder: str,
    start: str, owners: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return the resource of a whole cluster.

    Args:
        minimum, maximum: pods of workers.
        version: of Ray in the image.
        idle: seconds of nothing to do after which the autoscaler lets a worker go.
        holder: the process that made it, in words.
        start: what tells this start from others.
        owners: what takes it along when it goes.
    """
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": metadata(name, namespace, holder, start, owners),
        "spec": {
            "rayVersion": version,
            "authOptions": {"mode": "token"},
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {
                "version": "v2", "idleTimeoutSeconds": idle, "securityContext": locked_down(),
                "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
            },
            "headGroupSpec": {
                "serviceType": "ClusterIP",
                "rayStartParams": {"num-cpus": "0"},
                "template": _head(spec),
            },
            "workerGroupSpecs": groups(spec, minimum, maximum),
        },
    }  # fmt: skip


def rebound(there: Sequence[Mapping[str, Any]], minimum: int, maximum: int) -> list[dict[str, Any]]:
    """Return the groups that there are, with other bounds: how many run and which go is the autoscaler's to say."""
    return [
        {**group, "minReplicas": minimum, "maxReplicas": maximum,
         "replicas": min(max(int(group.get("replicas") or 0), minimum), maximum)}
        if group["groupName"] == GROUP else dict(group)
        for group in there
    ]  # fmt: skip


def groups(spec: PodSpec, minimum: int, maximum: int) -> list[dict[str, Any]]:
    """Return the groups of workers: a list that a patch replaces as a whole."""
    return [{
        "groupName": GROUP, "replicas": minimum, "minReplicas": minimum, "maxReplicas": maximum, "numOfHosts": 1,
        "rayStartParams": {"num-cpus": str(spec.threads), "node-manager-port": str(NODE_PORT)},
        "template": _worker(spec),
    }]  # fmt: skip


def _head(spec: PodSpec) -> dict[str, Any]:
    ports = {"gcs-server": PORT, "dashboard": PAGES_PORT, "client": CLIENT_PORT}
    container = {
        "name": "ray-head",
        "image": spec.image,
        "env": pods.environment(spec),
        "envFrom": pods.environment_of_secrets(spec),
        "ports": [{"name": what, "containerPort": port, "protocol": "TCP"} for what, port in ports.items()],
        **_probes("gcs-server"),
        **_size(HEAD_CPU, HEAD_MEMORY, {}),
    }
    found = _laid(container, spec, on_spot=False, memory=HEAD_MEMORY)
    del found["spec"]["automountServiceAccountToken"]  # the autoscaler beside it asks for pods
    return dict(pods.overlaid(found, spec.scheduler))


def _worker(spec: PodSpec) -> dict[str, Any]:
    gpus = {"nvidia.com/gpu": str(spec.gpus)} if spec.gpus else {}
    container = {
        "name": "ray-worker",
        "image": spec.image,
        "env": pods.environment(spec),
        "envFrom": pods.environment_of_secrets(spec),
        "ports": [{"name": "node-manager", "containerPort": NODE_PORT, "protocol": "TCP"}],
        **_probes("node-manager"),
        **_size(spec.cpus, spec.memory, gpus),
    }
    return dict(pods.overlaid(_laid(container, spec, on_spot=spec.spot, memory=spec.memory), spec.worker))


def _probes(port: str) -> dict[str, Any]:
    """Return the probes of a port: KubeRay's own ask Ray's dashboard agent, and where it is not there end each pod."""
    asked = {"tcpSocket": {"port": port}}
    return {
        "readinessProbe": {**asked, "periodSeconds": 5},
        "livenessProbe": {
            **asked, "initialDelaySeconds": 60, "periodSeconds": 20, "timeoutSeconds": 10, "failureThreshold": 10,
        },
    }  # fmt: skip


def _size(cpus: float, memory: int, gpus: Mapping[str, str]) -> dict[str, Any]:
    room = pods.memory_text(memory)
    return {
        "resources": {
            "requests": {"cpu": pods.cpu_text(cpus), "memory": room, **gpus}, "limits": {"memory": room, **gpus},
        },
        "securityContext": locked_down(),
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
    }  # fmt: skip


def _laid(container: dict[str, Any], spec: PodSpec, *, on_spot: bool, memory: int) -> dict[str, Any]:
    room = pods.memory_text(int(memory * SHARED_PART) >> 20 << 20)
    shared = {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": room}}
    made = pods.pod(container, spec, on_spot=on_spot)
    return {"metadata": {"annotations": dict(STAYS)}, "spec": {**made, "volumes": [shared]}}
