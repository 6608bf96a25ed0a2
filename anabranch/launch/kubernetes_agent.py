"""An agent that lives in a cluster, as the objects that keep it running there: a pure function."""

from __future__ import annotations

from typing import Any

from anabranch.core.deployments import AGENT
from anabranch.kubernetes.names import dns_name
from anabranch.kubernetes.ours import OWNER, OWNER_NAME, STAYS, locked_down, not_root

INSTANCE = "app.kubernetes.io/instance"
_RBAC = "rbac.authorization.k8s.io"
# As the chart's role for drivers that submit jobs: what looking at jobs asks for, and nothing more.
_RULES = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "delete"]},
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]


def manifests(
    name: str, image: str, words: list[str], address: str, secret: str, namespace: str, *, safe_to_evict: bool = False
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the account, the role and its binding, which all agents share, and the Deployment of this one.

    Args:
        name: of the Deployment; another one with this name is replaced.
    """
    name = dns_name(name)
    labels = {"app.kubernetes.io/name": AGENT, OWNER: OWNER_NAME}
    meta = {"name": AGENT, "namespace": namespace, "labels": labels}
    role = {"apiGroup": _RBAC, "kind": "Role", "name": AGENT}
    container = {
        "name": "agent", "image": image, "command": ["python", "-m", "anabranch", *words],
        "env": [{"name": "ANABRANCH_RECORDS", "value": address}, {"name": "ANABRANCH_HOME", "value": "/tmp/anabranch"}],
        "envFrom": [{"secretRef": {"name": secret, "optional": True}}], "securityContext": locked_down(),
    }  # fmt: skip
    pod = {
        "metadata": {"labels": {**labels, INSTANCE: name}, **({} if safe_to_evict else {"annotations": dict(STAYS)})},
        "spec": {"serviceAccountName": AGENT, "securityContext": not_root(), "containers": [container]},
    }  # fmt: skip
    selector = {"matchLabels": {INSTANCE: name}}
    rbac = f"{_RBAC}/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": rbac, "kind": "Role", "metadata": meta, "rules": _RULES},
        {
            "apiVersion": rbac, "kind": "RoleBinding", "metadata": meta, "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": AGENT, "namespace": namespace}],
        },
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**meta, "name": name},
            "spec": {"replicas": 1, "selector": selector, "template": pod},
        },
    ]  # fmt: skip
