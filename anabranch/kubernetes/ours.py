"""What launchers and clusters write into all objects and pods of ours: pure functions."""

from __future__ import annotations

from typing import Any

OWNER, OWNER_NAME = "app.kubernetes.io/managed-by", "anabranch"  # the label that all objects of ours have
# No autoscaler takes the node away for its own sake: a driver or a worker with values is not moved without loss.
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


def locked_down() -> dict[str, Any]:
    """Return what a container of ours may not do."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def not_root() -> dict[str, Any]:
    """Return the security context of a pod of ours; with `locked_down` it meets the standard `restricted`."""
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
