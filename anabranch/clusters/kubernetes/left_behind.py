"""Clusters that outlive their holder: those of this machine are taken away by the next start, others are named."""

from __future__ import annotations

import getpass
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes import manifests
from anabranch.core.processes import host_name, process_alive, process_started

if TYPE_CHECKING:
    from anabranch.clusters.kubernetes.objects import DaskObjects

REMOVE_SECONDS = 20.0

log = logging.getLogger("anabranch.clusters")


def myself() -> dict[str, Any]:
    """Return what tells this process from all others."""
    return {"host": host_name(), "pid": os.getpid(), "started": process_started(os.getpid()), "user": _user()}


def clear_left_behind(objects: DaskObjects) -> None:
    """Delete the clusters of a namespace that processes of this machine held which are gone."""
    for one in objects.there("app.kubernetes.io/managed-by=anabranch"):
        meta = one["metadata"]
        if not meta.get("deletionTimestamp") and is_left(meta, host_name()):
            log.warning("the cluster %s was left behind by a program that has died: it is deleted", meta["name"])
            objects.take_away(str(meta["name"]), str(meta["uid"]), REMOVE_SECONDS)


def is_left(meta: dict[str, Any], here: str) -> bool:
    """Return whether a process of this machine held a cluster, and is gone; of others nothing is known."""
    try:
        holder = json.loads((meta.get("annotations") or {})[manifests.HOLDER])
        mine = holder["host"] == here and holder["user"] == _user()
        return mine and not process_alive(int(holder["pid"]), float(holder["started"]))
    except (KeyError, ValueError, TypeError):
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        return str(os.getuid())
