"""Elastic clusters of Kubernetes pods, over the Dask operator: the user's face.

    KubernetesCluster (driver) --held.py--> holder.py --API--> DaskCluster --operator--> scheduler and workers in pods

dask-kubernetes' own `KubeCluster` is not used: given a name that exists it attaches without a word and deletes at its
close, waits without an end for what does not come, and lets the operator choose the workers that go.
"""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.clusters.held import HeldCluster, clusters_folder
from anabranch.clusters.kubernetes import manifests, pod_spec
from anabranch.clusters.kubernetes.attached import AttachedCluster
from anabranch.core.errors import AnabranchError
from anabranch.kubernetes import names
from anabranch.kubernetes.api import KubernetesApi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class KubernetesCluster(HeldCluster):
    """Dask workers in pods: as many as the work asks for, between `minimum` and `maximum`.

    For ``DaskRunner(KubernetesCluster(...))``. Nothing is made before it is first used. Pods that die are replaced, and
    a worker that goes hands its values on first. `close`, the end of a ``with`` block and the end of the program take
    the cluster away; so does the operator once it has been idle without its program for `idle_timeout`.

    Args:
        name: of the DaskCluster; None: one of its own.
        image: of scheduler and workers, with the Python, Dask and anabranch of the program.
        workers: so many all the time; None: between `minimum` and `maximum`.
        minimum: pods that are there also without work.
        maximum: pods at most.
        cpus: of each worker, also parts of one; it has as many threads as whole ones.
        memory: of each worker, as "2 GiB" or bytes.
        gpus: of each worker.
        env: variables of scheduler and workers.
        secrets: names of Secrets; their keys become variables.
        node_selector: labels that nodes of the pods must have.
        tolerations: of the pods, as Kubernetes writes them.
        spot: workers on nodes that may be taken away; never the scheduler.
        worker_template: laid over the worker's pod: {"metadata": ..., "spec": ...}. Lists are added to ours, except
            `args` and `command`; the first container is ours.
        scheduler_template: the same for the scheduler's pod.
        network_policy: make a NetworkPolicy with the cluster, which lets only its own pods, pods of ours and the
            namespace dask-operator reach it; it takes a network plug-in that keeps to policies.
        namespace: None: that of the kubeconfig's context, or of this pod.
        context: of the kubeconfig; None: its current one.
        address: of the scheduler, where it is reached by another one than its Service's name, as
            "tcp://dask.example:8786"; "forward": through the API server; None: by what answers of these two.
        idle: seconds of too little work after which pods are let go.
        idle_timeout: seconds, at least 30, after the death of its program until the operator ends it.
        start_timeout: seconds until the scheduler has to be ready; what cannot become so ends sooner, with its reason.
        patience: seconds without any worker after which flows on it end with the reason; None: they wait.
        home: the folder of clusters; None: anabranch's.

    Raises:
        ValueError: a number or text that cannot be.
    """

    kind = "kubernetes"
    unit = "pods"
    holder = "anabranch.clusters.kubernetes.holder"
    grace_seconds: float = 30.0

    def __init__(
        self,
        name: str | None = None,
        *,
        image: str,
        workers: int | None = None,
        minimum: int = 0,
        maximum: int = 4,
        cpus: float = 1,
        memory: int | str = "2 GiB",
        gpus: int = 0,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[Mapping[str, Any]] = (),
        spot: bool = False,
        worker_template: Mapping[str, Any] | None = None,
        scheduler_template: Mapping[str, Any] | None = None,
        network_policy: bool = False,
        namespace: str | None = None,
        context: str | None = None,
        address: str | None = None,
        idle: float = 60.0,
        idle_timeout: int = 300,
        start_timeout: float = 300.0,
        patience: float | None = None,
        home: str | Path | None = None,
    ) -> None:
        self._spec = pod_spec.checked(
            image=image, cpus=cpus, memory=memory, gpus=gpus, env=env, secrets=secrets, spot=spot,
            node_selector=node_selector, tolerations=tolerations,
            templates={"worker_template": worker_template, "scheduler_template": scheduler_template},
        )  # fmt: skip
        if idle_timeout < 30 or start_timeout <= 0:
            raise ValueError(
                f"idle_timeout is 30 s at least, start_timeout above 0: got {idle_timeout} and {start_timeout}"
            )
        given = checked_name(name) if name else f"anabranch-{uuid.uuid4().hex[:8]}"
        super().__init__(given, minimum if workers is None else workers, maximum if workers is None else workers)
        self.start_seconds: float = start_timeout + 60.0
        self._namespace, self._context, self._address = namespace or "", context or "", address or ""
        self._network_policy = network_policy
        self._idle, self._idle_timeout, self._patience = idle, int(idle_timeout), patience
        self._start_timeout = start_timeout
        self._home = Path(home) if home is not None else clusters_folder()

    def __repr__(self) -> str:
        size = f"cpus={self._spec.cpus:g}, workers={self._minimum}..{self._maximum}"
        return f"{type(self).__name__}({self.name!r}, {size})"

    def _size(self) -> tuple[tuple[str, str | float | None, str], ...]:
        spec = self._spec
        slots = f"{spec.threads} to a pod, {self._maximum * spec.threads} at most"
        return ("slots", slots, ""), ("memory of a pod", spec.memory, "B"), ("gpus of a pod", spec.gpus or None, "")

    @staticmethod
    def attach(name: str, *, namespace: str | None = None, context: str | None = None) -> AttachedCluster:
        """Return a cluster that runs already, and is left as it is when this program ends.

        Raises:
            RunnerError: there is none of this name, or it is not reached from here.
        """
        return AttachedCluster(name, namespace=namespace or "", context=context or "")

    def options(self) -> dict[str, Any]:
        """Return what its holder is told."""
        return {
            "holder": self.holder, "kind": self.kind, "name": self.name, "spec": asdict(self._spec),
            "bounds": [self._minimum, self._maximum], "namespace": self._namespace, "context": self._context,
            "address": self._address, "idle": self._idle, "idle_timeout": self._idle_timeout,
            "start_timeout": self._start_timeout, "patience": self._patience, "home": str(self._home),
            "network_policy": self._network_policy, "start": uuid.uuid4().hex[:8], "path": sys.path,
        }  # fmt: skip

    def render(self) -> str:
        """Return the manifest of the cluster, as JSON; starts nothing."""
        made = manifests.dask_cluster(
            self.name, self._place(), self._spec, replicas=self._minimum, idle_timeout=self._idle_timeout,
            holder="", start="",
        )  # fmt: skip
        return json.dumps(made, indent=2) + "\n"

    def _place(self) -> str:
        try:
            with KubernetesApi(context=self._context, namespace=self._namespace) as api:
                return api.namespace
        except AnabranchError:  # no cluster to be asked: the manifest can be shown all the same
            return self._namespace or "default"


def checked_name(name: str) -> str:
    """Return a name that Kubernetes takes; raises ValueError with one that would do."""
    if not names.is_dns_name(name, names.CLUSTER, letter_first=True):
        raise ValueError(
            f"a cluster on Kubernetes has at most {names.CLUSTER} small letters, digits and -, and a letter first: got "
            f"{name!r}; {names.dns_name(name, names.CLUSTER, letter_first=True)!r} would do"
        )
    return name
