"""What takes a cluster along when it goes: the Job of the pod that its driver runs in, or that pod."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from anabranch.core.pod_job import POD_NAME, POD_NAMESPACE
from anabranch.kubernetes.login import SERVICE_ACCOUNT, pod_namespace
from anabranch.kubernetes.resources import PODS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.kubernetes.api import KubernetesApi



def owners(api: KubernetesApi, namespace: str) -> list[dict[str, Any]]:
    """Return the references of a cluster to its owner; none where this process is in no pod of the namespace.

    An owner is of the namespace of what it owns: Kubernetes deletes at once what refers to another.
    """
    name = own_pod(os.environ)
    if (own_namespace(os.environ) or namespace) != namespace:
        return []
    found = api.objects(PODS, namespace, fields=f"metadata.name={name}") if name else []
    return [owner_of(pod) for pod in found if not pod["metadata"].get("deletionTimestamp")]


def own_pod(environ: Mapping[str, str]) -> str:
    """Return the name of the pod that this process runs in, "" for none: a pod's host name is its own name."""
    inside = environ.get("KUBERNETES_SERVICE_HOST")
    return environ.get(POD_NAME) or (environ.get("HOSTNAME", "") if inside else "")


def own_namespace(environ: Mapping[str, str], service_account: str = SERVICE_ACCOUNT) -> str:
    """Return the namespace of the pod that this process runs in, "" where that is not known."""
    return environ.get(POD_NAMESPACE) or pod_namespace(service_account)


def owner_of(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference to a pod's Job; to the pod itself where it has none: another maker would replace it."""
    for one in pod["metadata"].get("ownerReferences") or ():
        if one.get("controller") and one["kind"] == "Job":
            return {name: one[name] for name in ("apiVersion", "kind", "name", "uid")}
    meta = pod["metadata"]
    return {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
