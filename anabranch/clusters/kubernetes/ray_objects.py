"""What is asked of a RayCluster that is there: whether its head is ready, and its token."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

from anabranch.clusters.kubernetes import ray_manifests as manifests
from anabranch.core.errors import KubernetesError, RunnerError
from anabranch.kubernetes import reasons
from anabranch.kubernetes.resources import EVENTS, PODS, SECRETS, Resource

if TYPE_CHECKING:
    from anabranch.kubernetes.api import KubernetesApi

RAY_CLUSTERS = Resource("rayclusters", "ray.io", "v1", "RayCluster")
NO_KUBERAY = (
    "KubeRay is not installed in this Kubernetes cluster: it knows no RayCluster. `helm install kuberay-operator "
    "--repo https://ray-project.github.io/kuberay-helm kuberay-operator` does it"
)


def head_trouble(api: KubernetesApi, name: str) -> reasons.Reason | None:
    """Return why the head of a cluster is not ready; None when it is."""
    labels = f"{manifests.CLUSTER_OF}={name},{manifests.TYPE_OF}=head"
    heads = api.objects(PODS, labels=labels)
    if not heads:
        text = "KubeRay has made no pod for it: see whether its operator runs"
        return reasons.Reason(reasons.Kind.STARTING, text)
    newest = max(heads, key=reasons.created)
    if reasons.condition(newest, "Ready").get("status") == "True":
        return None
    events = api.objects(EVENTS, fields=f"involvedObject.uid={newest['metadata']['uid']}")
    return reasons.of_pod(newest, events, time.time())


def token_of(api: KubernetesApi, name: str) -> str:
    """Return the token of a cluster. Raises RunnerError where there is none, or no right to read it."""
    try:
        found = api.get(SECRETS, name)
        return base64.b64decode(found["data"][manifests.TOKEN_KEY]).decode()
    except (KubernetesError, KeyError) as error:
        raise RunnerError(
            f"the token of Ray's cluster {name} cannot be read ({error}): an older KubeRay makes none, and "
            "a role needs `get secrets`"
        ) from error
