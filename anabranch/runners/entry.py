"""What runners reach only through a reference, because they never import it: the worker's half, and own clusters."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.chunks import Chunk
    from anabranch.core.clusters import Cluster, ElasticCluster
    from anabranch.core.contracts import WorkerPort

    RunChunk = Callable[[Chunk, WorkerPort], None]

WORKER = "anabranch.worker.run:run_chunk"
LOCAL_CLUSTER = "anabranch.clusters.local:LocalCluster"
NAMED_CLUSTER = "anabranch.clusters.named:NamedCluster"
NAMED_RAY = "anabranch.clusters.kubernetes.attached_ray:AttachedRay"


def resolve(entry: str | RunChunk | None) -> RunChunk:
    """The function that runs a chunk: given as itself, as ``module:name``, or None for `WORKER`.

    Raises:
        RunnerError: the text names nothing that can be called.
    """
    if callable(entry):
        return entry
    found: RunChunk = _load(entry or WORKER, "the worker's entry point")
    return found


def local_cluster(n_workers: int, threads: int) -> Cluster:
    """Begin to start a cluster of this machine, which is the runner's to close; raises RunnerError."""
    found: Cluster = _load(LOCAL_CLUSTER, "the local cluster")(n_workers, threads)
    return found


def named_cluster(name: str) -> ElasticCluster:
    """Find a cluster that runs by itself; raises RunnerError where there is none, VersionMismatch."""
    found: ElasticCluster = _load(NAMED_CLUSTER, "clusters by name")(name)
    return found


def named_ray(name: str) -> Any:
    """Find a Ray of pods by its RayCluster's name, see `RayOnKubernetes.attach`; raises RunnerError."""
    return _load(NAMED_RAY, "Ray by name")(name)


def _load(reference: str, what: str) -> Any:
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RunnerError(f"cannot load {what} {reference!r}: {error}") from error
