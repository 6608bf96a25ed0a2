"""The last lines of the pods of a cluster that has a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anabranch.clusters.kubernetes import manifests
from anabranch.kubernetes import reasons
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.resources import PODS

OWN = "holder.log"


def of_pods(found: dict[str, Any], worker: str | None, lines: int) -> list[tuple[str, str]]:
    """Return pods and the ends of their logs, the scheduler's first and the holder's own last.

    Args:
        found: as the cluster's file has it.
        worker: of this one alone, by the name that `status` has.
    """
    namespace, own = str(found["namespace"]), Path(found["folder"]) / OWN
    with KubernetesApi(context=found["context"], namespace=namespace) as api:
        pods = sorted(
            api.objects(PODS, namespace, labels=f"{manifests.CLUSTER_OF}={found['name']}"), key=reasons.created
        )
        names = [str(pod["metadata"]["name"]) for pod in pods]
        chosen = [name for name in names if worker is None or name == worker or name.startswith(f"{worker}-")]
        told = [(name, api.text(PODS, name, "log", {"tailLines": str(lines)}, namespace)) for name in chosen]
    if worker is not None or not own.exists():
        return told
    last = own.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return [*told, (str(own), "\n".join(last))]
