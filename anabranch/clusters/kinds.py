"""The kinds of clusters that outlive one program, and how the words of a command become each one's options."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.clusters.held import HeldCluster

KINDS = {
    "kubernetes": "anabranch.clusters.kubernetes.cluster:KubernetesCluster",
    "local": "anabranch.clusters.here:HereCluster",
    "pbs": "anabranch.clusters.pbs:PBSCluster",
    "slurm": "anabranch.clusters.slurm:SlurmCluster",
}
SHARED = {"cores", "memory", "idle", "patience"}  # what all kinds take
PODS = {"image", "namespace", "context", "gpus", "env", "secrets", "spot"}  # what Kubernetes takes alone


def cluster_class(kind: str) -> type[HeldCluster]:
    """Return what users make of a kind."""
    module, _, name = KINDS[kind].partition(":")
    found: type[HeldCluster] = getattr(importlib.import_module(module), name)
    return found


def options_of(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a kind's class.

    Args:
        given: what the user has said, by the command's names; what was not said is left out.

    Raises:
        ValueError: something is said that this kind does not take, or a word that it needs is missing.
    """
    pods = kind == "kubernetes"
    if foreign := sorted(name for name in given if name not in SHARED and (name in PODS) != pods):
        raise ValueError(f"a cluster of kind {kind} takes no {' and no '.join(_spelt(name) for name in foreign)}")
    if pods and "image" not in given:
        raise ValueError("a cluster on Kubernetes needs --image: of scheduler and workers, with anabranch in it")
    found = dict(given)
    cores = found.pop("cores")
    if pods:
        return {**found, "cpus": cores}
    if cores != int(cores):
        raise ValueError(f"a job has whole cores, got {cores:g}")
    return {**found, "cores": int(cores)}


def _spelt(name: str) -> str:
    singular = {"secrets": "secret", "directives": "directive", "worker_options": "worker-option"}
    return f"--{singular.get(name, name).replace('_', '-')}"
