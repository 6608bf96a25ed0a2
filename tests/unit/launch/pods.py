"""Pods as the API writes them, in the states that a launcher sees."""

from __future__ import annotations

from typing import Any

from anabranch.launch.kubernetes_manifest import CONTAINER

NOW = 1_795_953_600.0  # 2026-11-29T12:00:00Z


def pod(phase: str, state: Any = None, at: str = "2026-11-29T11:59:50Z", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "uid": "u", "creationTimestamp": at, **meta},
        "spec": {"containers": [{"name": CONTAINER, "image": "team:1"}], "nodeName": "node-1"},
        "status": {"phase": phase, "containerStatuses": [{"name": CONTAINER, "state": state or {}}]},
    }


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def waits(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": "in its words"}}
