"""The DaskCluster resource that the Dask operator makes pods of: pure functions.

    DaskCluster NAME --operator--> Deployment + Service NAME-scheduler
                               --> DaskWorkerGroup NAME-default --> one Deployment a worker, NAME-default-worker-<hex>

The operator speaks only tcp://, and names its workers itself: their command must say `--name $(DASK_WORKER_NAME)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes import pod_spec as pods
from anabranch.kubernetes.ours import OWNER, OWNER_NAME, STAYS, locked_down

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.clusters.kubernetes.pod_spec import PodSpec

PORT, PAGES_PORT = 8786, 8787
DOOR = "anabranch.clusters.kubernetes.door"
OURS = "anabranch/cluster"  # the label of all that belongs to a cluster of ours
START = "anabranch/start"  # another one, that no other start has: one of the same name is somebody else's
HOLDER = "anabranch/holder"  # the annotation that tells which process holds it
CLUSTER_OF = "dask.org/cluster-name"  # a label of the operator

# What the dispatcher does is not Dask's to do; see `clusters.holder.CONFIG`. Pages and figures are told to nobody.
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "inf",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "None",
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "100",
}
SCHEDULER_CPU, SCHEDULER_MEMORY = 0.5, 2 << 30
WORKER_SHARE = 0.9  # of its pod's memory: a nanny ends its worker before the kernel ends both


def group(name: str) -> str:
    """Return the name of a cluster's group of workers."""
    return f"{name}-default"


def scheduler(name: str) -> str:
    """Return the name of a cluster's scheduler: its Deployment and its Service."""
    return f"{name}-scheduler"


def service_address(name: str, namespace: str) -> str:
    """Return where a scheduler is reached inside of its Kubernetes cluster, whatever that one's domain is."""
    return f"tcp://{scheduler(name)}.{namespace}.svc:{PORT}"


def dask_cluster(
    name: str, namespace: str, spec: PodSpec, *, replicas: int, idle_timeout: int, holder: str, start: str,
    owners: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return the resource of a whole cluster.

    Args:
        replicas: workers to begin with.
        idle_timeout: seconds without a sign of its holder after which the operator ends it.
        holder: the process that holds it, in words.
        start: what tells this start from others.
        owners: what takes it along when it goes.
    """
    head, each = scheduler_pod(spec), worker_pod(spec, service_address(name, namespace))
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": metadata(name, namespace, holder, start, owners),
        "spec": {
            "idleTimeout": idle_timeout,
            "scheduler": {"metadata": head["metadata"], "spec": head["spec"], "service": _service(name)},
            "worker": {"replicas": replicas, "metadata": each["metadata"], "spec": each["spec"]},
        },
    }


def network_policy(name: str, namespace: str, uid: str, start: str) -> dict[str, Any]:
    """Return the policy by which only its own pods, flows of ours and the operator reach a cluster.

    Args:
        uid: of the DaskCluster, which takes the policy along when it goes.
        start: see `dask_cluster`; in the name, since an earlier one's policy may not have gone yet.
    """
    own = {"matchLabels": {CLUSTER_OF: name}}
    flows = {"matchLabels": {OWNER: OWNER_NAME}}
    operator = {"matchLabels": {"kubernetes.io/metadata.name": "dask-operator"}}  # asks whether a cluster is idle
    owner = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": name, "uid": uid}
    labels = {OWNER: OWNER_NAME, OURS: name, START: start}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": f"{name}-{start}", "namespace": namespace, "labels": labels, "ownerReferences": [owner],
        },
        "spec": {
            "podSelector": own,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": own}, {"podSelector": flows}, {"namespaceSelector": operator}]}],
        },
    }  # fmt: skip


def metadata(
    name: str, namespace: str, holder: str, start: str, owners: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the metadata of a cluster of ours, of Dask or Ray; for its arguments see `dask_cluster`."""
    found: dict[str, Any] = {
        "name": name, "namespace": namespace, "labels": {OWNER: OWNER_NAME, OURS: name, START: start},
        "annotations": {HOLDER: holder},
    }  # fmt: skip
    if owners:
        found["ownerReferences"] = [dict(owner) for owner in owners]
    return found


def scheduler_pod(spec: PodSpec) -> dict[str, Any]:
    """Return the scheduler's pod: never on a node that may be taken away."""
    command = ["dask", "scheduler", "--host", "0.0.0.0", "--port", str(PORT), "--no-dashboard"]
    command += ["--dashboard-address", f"0.0.0.0:{PAGES_PORT}", "--preload", DOOR]
    container = {
        "name": "scheduler",
        "image": spec.image,
        "args": command,
        "env": pods.environment(spec, **SETTINGS),
        "envFrom": pods.environment_of_secrets(spec),
        "ports": [
            {"name": "tcp-comm", "containerPort": PORT, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": PAGES_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {"tcpSocket": {"port": "tcp-comm"}, "periodSeconds": 2, "failureThreshold": 5},
        "resources": {
            "requests": {"cpu": pods.cpu_text(SCHEDULER_CPU), "memory": pods.memory_text(SCHEDULER_MEMORY)},
            "limits": {"memory": pods.memory_text(SCHEDULER_MEMORY)},
        },
        "securityContext": locked_down(),
    }
    return _laid(container, spec, spec.scheduler, on_spot=False)


def worker_pod(spec: PodSpec, address: str) -> dict[str, Any]:
    """Return a worker's pod; one worker in each, because the operator deletes by the worker's name."""
    command = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", str(spec.threads), "--nworkers", "1"]
    command += ["--memory-limit", str(int(spec.memory * WORKER_SHARE)), "--no-dashboard"]
    command += ["--dashboard-address", "127.0.0.1:0", "--death-timeout", "60"]
    if spec.gpus:
        command += ["--resources", f"gpus={spec.gpus}"]
    gpus = {"nvidia.com/gpu": str(spec.gpus)} if spec.gpus else {}
    memory = pods.memory_text(spec.memory)
    container = {
        "name": "worker",
        "image": spec.image,
        "args": command,
        # The operator would write the address with the domain cluster.local, which not every cluster has.
        "env": pods.environment(spec, **SETTINGS, DASK_SCHEDULER_ADDRESS=address),
        "envFrom": pods.environment_of_secrets(spec),
        "resources": {
            "requests": {"cpu": pods.cpu_text(spec.cpus), "memory": memory, **gpus},
            "limits": {"memory": memory, **gpus},
        },
        "securityContext": locked_down(),
    }
    return _laid(container, spec, spec.worker, on_spot=spec.spot)


def _laid(container: dict[str, Any], spec: PodSpec, template: dict[str, Any], *, on_spot: bool) -> dict[str, Any]:
    ours = {
        "metadata": {"annotations": dict(STAYS), "labels": {}},
        "spec": pods.pod(container, spec, on_spot=on_spot),
    }
    found: dict[str, Any] = pods.overlaid(ours, template)
    return found


def _service(name: str) -> dict[str, Any]:
    ports = {"tcp-comm": PORT, "http-dashboard": PAGES_PORT}
    return {
        "type": "ClusterIP",
        "selector": {CLUSTER_OF: name, "dask.org/component": "scheduler"},
        "ports": [
            {"name": what, "protocol": "TCP", "port": port, "targetPort": what} for what, port in ports.items()
        ],
    }
