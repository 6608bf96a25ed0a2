"""A Dask cluster of pods that runs already: used, and left as it is."""

from __future__ import annotations

import contextlib
from typing import Any

from anabranch.clusters.asking import ask
from anabranch.clusters.kubernetes.objects import DASK_CLUSTERS, DaskObjects
from anabranch.clusters.kubernetes.reaching import Reach
from anabranch.clusters.kubernetes.starting import ready_scheduler
from anabranch.core.errors import KubernetesError, RunnerError
from anabranch.core.showing import Facts, Shown
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.reflector import Reflector
from anabranch.kubernetes.resources import PODS

READY_SECONDS = 60.0


class AttachedCluster(Shown):
    """A cluster that another program has made, or that stands in the Kubernetes cluster for all; see `core.clusters`.

    Raises:
        RunnerError: there is none of this name, its scheduler is not ready, or it is not reached from here.
    """

    pages: str = ""
    elastic: bool = True  # where its scheduler has no door for the demand, the runner's word is left unheard
    security: None = None  # the operator's schedulers speak tcp:// only

    def __init__(self, name: str, *, namespace: str = "", context: str = "") -> None:
        self.name: str = name
        self._api = KubernetesApi(context=context, namespace=namespace)
        try:
            self._objects = DaskObjects(self._api, name, self._api.namespace)
            self._find()
            self._pods = Reflector(self._api, PODS, self._objects.namespace, labels=self._objects.labels)
            if not self._pods.wait(ready_scheduler, READY_SECONDS):
                raise RunnerError(f"the scheduler of the cluster {name} is not ready after {READY_SECONDS:g} s")
            self.scheduler_address: str = Reach(self._api, self._objects, self._pods, "").address()
        except BaseException:
            self._api.close()
            raise

    def __repr__(self) -> str:
        return f"KubernetesCluster.attach({self.name!r})"

    def facts(self) -> Facts:
        """Return what a notebook shows of it, without asking Kubernetes."""
        return Facts("KubernetesCluster", self.name, "attached", (("scheduler", self.scheduler_address, ""),))

    def _find(self) -> None:
        try:
            self._api.get(DASK_CLUSTERS, self.name, self._objects.namespace)
        except KubernetesError as error:
            if error.code != 404:
                raise
            there = sorted(str(one["metadata"]["name"]) for one in self._objects.there())
            raise RunnerError(
                f"there is no DaskCluster {self.name!r} in namespace {self._objects.namespace} "
                f"(there are: {', '.join(there) or 'none'})"
            ) from None

    @property
    def alive(self) -> bool:
        with contextlib.suppress(KubernetesError):
            return ready_scheduler(self._pods.objects()) is not None
        return False

    def start(self) -> None:
        """Nothing to do: it runs."""

    def close(self, timeout: float = 0.0) -> None:
        """Let go of it; it runs on. Idempotent."""
        self._api.close()

    def scale(self, jobs: int) -> None:
        """Have so many pods from now on, whatever there is to do; raises RunnerError where nobody holds it."""
        self.adapt(minimum=jobs, maximum=jobs)

    def adapt(self, *, minimum: int = 0, maximum: int) -> None:
        """Have as many pods as the work asks for, between these; raises RunnerError where nobody holds it."""
        ask(self.scheduler_address, {}, "scale", minimum=minimum, maximum=maximum)

    def status(self) -> dict[str, Any]:
        """Return what there is: pods by phase, workers, what was asked for."""
        return ask(self.scheduler_address, {}, "status")

    def why(self) -> str:
        """Return why it has fewer pods than it wants, in plain words; "" when it has them."""
        return str(self.status()["why"])
