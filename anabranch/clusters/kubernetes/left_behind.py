"""Clusters that outlive their holder: those of this machine are taken away by the next start, and no others."""

from __future__ import annotations

import getpass
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes import manifests
from anabranch.clusters.kubernetes.objects import DaskObjects
from anabranch.core.errors import AnabranchError
from anabranch.core.processes import host_name, pid_space, process_alive, process_started
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.ours import OWNER, OWNER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REMOVE_SECONDS = 20.0
LABELS = f"{OWNER}={OWNER_NAME}"  # of all clusters of ours

log = logging.getLogger("anabranch.clusters")


def myself() -> dict[str, Any]:
    """Return what tells this process from all others."""
    return {**_place(), "pid": os.getpid(), "started": process_started(os.getpid())}


def clear_left_behind(objects: DaskObjects) -> None:
    """Delete the clusters of a namespace that processes of this machine held which are gone."""
    for name, uid in left_of(objects.there(LABELS)):
        objects.take_away(name, uid, REMOVE_SECONDS)


def left_of(found: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the name and uid of each cluster that a process of this machine held which is gone, and say so."""
    for one in found:
        meta = one["metadata"]
        if not meta.get("deletionTimestamp") and is_left(meta):
            log.warning("the cluster %s was left behind by a program that has died: it is deleted", meta["name"])
            yield str(meta["name"]), str(meta["uid"])


def take_away(name: str, namespace: str, context: str) -> str:
    """Take away a cluster by its name, once its holder has ended; returns a sentence on what was done."""
    with KubernetesApi(context=context, namespace=namespace) as api:
        objects = DaskObjects(api, name, namespace)
        try:
            found = objects.there(f"{manifests.OURS}={name}")
            left = [one for here in found for one in objects.take_away(name, here["metadata"]["uid"], REMOVE_SECONDS)]
        except AnabranchError as error:
            return f"Its pods could not be looked at: {error}. The operator ends them once they are idle"
    return f"Still there are {', '.join(left)}" if left else "Its pods are deleted"


def is_left(meta: dict[str, Any]) -> bool:
    """Return whether a process of this machine held a cluster, and is gone; of others nothing is known.

    A process of another container, or from before the machine's last start, is one of the others: its pid says nothing.
    """
    try:
        holder = json.loads((meta.get("annotations") or {})[manifests.HOLDER])
        mine = all(holder[what] == found for what, found in _place().items())
        return mine and not process_alive(int(holder["pid"]), float(holder["started"]))
    except (KeyError, ValueError, TypeError):
        return False


def _place() -> dict[str, str]:
    return {"host": host_name(), "space": pid_space(), "user": _user()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        return str(os.getuid())
