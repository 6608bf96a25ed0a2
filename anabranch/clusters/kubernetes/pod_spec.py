"""What a pod of a cluster asks for, and how a user's template is laid over it: data and pure functions."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabranch.core.option_checks import parse_bytes
from anabranch.kubernetes.ours import not_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOST_NODE_SECONDS = 30  # until the pods of a node that does not answer begin elsewhere; Kubernetes waits 300
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REPLACED = {"args", "command"}  # lists of a template that take the place of ours; others are added to it
# The labels by which clouds and node provisioners mark nodes that may be taken away, and the taints beside them.
SPOT = {
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
_SPOT_TAINTS = ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority")


@dataclass(slots=True)
class PodSpec:
    """A worker's pod.

    Attributes:
        image: with Python, Dask and anabranch as here.
        cpus: processors, also parts of one.
        memory: bytes; a pod that takes more is ended.
        gpus: whole ones.
        env: variables.
        secrets: names of Secrets; each of their keys becomes a variable.
        node_selector: labels that a node must have.
        tolerations: as Kubernetes writes them.
        spot: workers go to nodes that may be taken away.
        worker, scheduler: laid over the pods, as {"metadata": ..., "spec": ...}; see `overlaid`.
    """

    image: str
    cpus: float
    memory: int
    gpus: int = 0
    env: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    spot: bool = False
    worker: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """Of a worker: as many as it has whole processors, and one at least."""
        return max(1, int(self.cpus))


def checked(
    *, image: str, cpus: float, memory: int | str, gpus: int, env: Mapping[str, str] | None, secrets: Any,
    node_selector: Mapping[str, str] | None, tolerations: Sequence[Mapping[str, Any]], spot: bool,
    templates: Mapping[str, Mapping[str, Any] | None],
) -> PodSpec:  # fmt: skip
    """Return the pod that options describe.

    Args:
        templates: by the names of their options: the worker's, then that of the scheduler or head.

    Raises:
        ValueError: a number or text that cannot be; names the option.
    """
    if not image or image != image.strip():
        raise ValueError(f"image names a container image, as registry.example/team/flows:3, got {image!r}")
    if not cpus > 0 or gpus < 0:
        raise ValueError(f"cpus must be greater than 0, and gpus 0 or more, got {cpus} and {gpus}")
    size = parse_bytes(memory)
    if not size:
        raise ValueError(f'memory must be the bytes of a pod, such as "2 GiB", got {memory!r}')
    if isinstance(secrets, str):
        raise ValueError(f"secrets is a list of names of Secrets: [{secrets!r}]")
    for name, value in (env or {}).items():
        if not _VARIABLE.fullmatch(name) or not isinstance(value, str):
            raise ValueError(f"env must have names of variables and texts, got {name!r}: {value!r}")
    for which, template in templates.items():
        if unknown := set(template or {}) - {"metadata", "spec"}:
            raise ValueError(f"{which} has a pod's metadata and spec, and no {', '.join(sorted(unknown))}")
    worker, head = (dict(template or {}) for template in templates.values())
    return PodSpec(
        image=image, cpus=float(cpus), memory=int(size), gpus=int(gpus), env=dict(env or {}), secrets=list(secrets),
        node_selector=dict(node_selector or {}), tolerations=[dict(one) for one in tolerations], spot=spot,
        worker=worker, scheduler=head,
    )  # fmt: skip


def cpu_text(cpus: float) -> str:
    """Return an amount of processors as Kubernetes writes it."""
    return str(int(cpus)) if cpus == int(cpus) else f"{round(cpus * 1000)}m"


def memory_text(size: int) -> str:
    """Return bytes as Kubernetes writes them."""
    return f"{size >> 20}Mi" if size % (1 << 20) == 0 else str(size)


def environment(spec: PodSpec, **more: str) -> list[dict[str, str]]:
    """Return the variables of a container; the user's stand before ours of the same name."""
    return [{"name": name, "value": value} for name, value in {**more, **spec.env}.items()]


def environment_of_secrets(spec: PodSpec) -> list[dict[str, Any]]:
    return [{"secretRef": {"name": name}} for name in spec.secrets]


def pod(container: dict[str, Any], spec: PodSpec, *, on_spot: bool) -> dict[str, Any]:
    """Return a pod around its container: no rights at the API, not root, soon elsewhere when its node is lost."""
    ours = [
        {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute",
         "tolerationSeconds": LOST_NODE_SECONDS}
        for what in ("not-ready", "unreachable")
        if not any(one.get("key") == f"node.kubernetes.io/{what}" for one in spec.tolerations)
    ]  # fmt: skip
    spots = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in _SPOT_TAINTS] if on_spot else []
    found: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": not_root(),
        "tolerations": [*spec.tolerations, *spots, *ours],
        "containers": [container],
    }
    if spec.node_selector:
        found["nodeSelector"] = dict(spec.node_selector)
    terms = spot_terms(on_spot)
    if on_spot or spec.spot:
        found["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        }
    return found


def spot_terms(wanted: bool) -> list[dict[str, Any]]:
    """Return the terms that choose nodes which may be taken away, by any provider's label, or none of these."""
    if wanted:
        return [{"matchExpressions": [_term(key, "In", value)]} for key, value in SPOT.items()]
    return [{"matchExpressions": [_term(key, "NotIn", value) for key, value in SPOT.items()]}]


def _term(key: str, operator: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": [value]}


def overlaid(ours: Any, theirs: Any, name: str = "") -> Any:
    """Return our manifest with a user's template laid over it; neither is changed.

    Mappings are joined, None takes a field away, lists are added to ours. The first container without a name, or with
    the name of ours, is laid over ours. `args` and `command` take the place of ours.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = dict(ours)
        for key, value in theirs.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = overlaid(ours[key], value, key) if key in ours else copy.deepcopy(value)
        return found
    if name == "containers" and isinstance(theirs, list) and ours and theirs:
        first, *others = theirs
        if first.get("name", ours[0]["name"]) == ours[0]["name"]:
            return [overlaid(ours[0], first), *ours[1:], *copy.deepcopy(others)]
    if isinstance(ours, list) and isinstance(theirs, list) and name not in _REPLACED:
        return [*ours, *copy.deepcopy(theirs)]
    return copy.deepcopy(theirs)
