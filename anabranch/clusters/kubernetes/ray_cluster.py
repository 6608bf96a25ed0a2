"""Ray in Kubernetes pods, over KubeRay: made, waited for, scaled by its own autoscaler, taken away.

    RayOnKubernetes (driver in a pod) --API--> RayCluster --KubeRay--> head, autoscaler, workers in pods
                                      <--Secret: the token; Service NAME-head-svc: the address
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import time
import uuid
import weakref
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Self

from anabranch.clusters.held import check_bounds
from anabranch.clusters.kubernetes import pod_spec
from anabranch.clusters.kubernetes import ray_manifests as manifests
from anabranch.clusters.kubernetes.attached_ray import AttachedRay
from anabranch.clusters.kubernetes.cluster import checked_name
from anabranch.clusters.kubernetes.left_behind import LABELS, left_of, myself
from anabranch.clusters.kubernetes.owning import owners
from anabranch.clusters.kubernetes.ray_objects import NO_KUBERAY, RAY_CLUSTERS, head_trouble, token_of
from anabranch.clusters.kubernetes.starting import HOPELESS, HOPELESS_SECONDS
from anabranch.core.errors import AnabranchError, KubernetesError, RunnerError
from anabranch.core.showing import Facts, Shown, life
from anabranch.kubernetes import reasons
from anabranch.kubernetes.api import KubernetesApi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger("anabranch.clusters")

LOOK_SECONDS = 0.5
PATCHES = 10  # of bounds, while autoscaler and operator write to the same object


class RayOnKubernetes(Shown):
    """A Ray cluster in pods, for ``RayRunner(cluster=...)`` in a program that is on one of its nodes.

    Ray takes drivers on its own nodes only, and this makes no node of the program's pod: before the runner is used, the
    program starts `ray start --address ADDRESS --num-cpus 0` there, with the `address` of this and, in its environment,
    the `variables`. Outside of Kubernetes there is no way. Nothing is made before it is first used.
    `close`, the end of a ``with`` block and the end of the program delete it; a pod's Job takes it along when that
    goes; what a killed program on this machine has left, the next start deletes.

    Args:
        name: of the RayCluster; None: one of its own.
        image: of all pods, with the Python, Ray and anabranch of the program.
        minimum: the fewest pods of workers.
        maximum: the most; Ray's own autoscaler decides between them.
        cpus: of each worker, as `memory` and `gpus`.
        env: as of `KubernetesCluster`, and so are `secrets`, `node_selector`, `tolerations`, `spot`, `worker_template`.
        head_template: laid over the head's pod.
        ray_version: of the image; None: that of this program.
        namespace: as of `KubernetesCluster`, and so is `context`.
        idle: seconds of nothing to do after which the autoscaler lets a worker go.
        start_timeout: seconds until the head has to be ready.

    Raises:
        ValueError: a number or text that cannot be.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        image: str,
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
        head_template: Mapping[str, Any] | None = None,
        ray_version: str | None = None,
        namespace: str | None = None,
        context: str | None = None,
        idle: int = 60,
        start_timeout: float = 300.0,
    ) -> None:
        self._spec = pod_spec.checked(
            image=image, cpus=cpus, memory=memory, gpus=gpus, env=env, secrets=secrets, spot=spot,
            node_selector=node_selector, tolerations=tolerations,
            templates={"worker_template": worker_template, "head_template": head_template},
        )  # fmt: skip
        check_bounds(minimum, maximum)
        self.name: str = checked_name(name) if name else f"anabranch-{uuid.uuid4().hex[:8]}"
        self._bounds = minimum, maximum
        self._version = checked_version(ray_version or _own_version())
        self._namespace, self._context = namespace or "", context or ""
        self._idle, self._seconds = idle, start_timeout
        self._uid = ""
        self._token = ""
        self._api: KubernetesApi | None = None

    def __repr__(self) -> str:
        return f"RayOnKubernetes({self.name!r}, cpus={self._spec.cpus:g}, workers={self._bounds[0]}..{self._bounds[1]})"

    def facts(self) -> Facts:
        """Return what a notebook shows of it, without asking Kubernetes."""
        (minimum, maximum), spec = self._bounds, self._spec
        slots = f"{spec.threads} to a pod, {maximum * spec.threads} at most"
        rows = (
            ("pods", f"{minimum} to {maximum}", ""), ("slots", slots, ""), ("memory of a pod", spec.memory, "B"),
            ("gpus of a pod", spec.gpus or None, ""),
        )  # fmt: skip
        return Facts("RayOnKubernetes", self.name, life(started=bool(self._uid), closed=False), rows)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def render(self, namespace: str = "default") -> str:
        """Return the manifest of the cluster, as JSON; starts nothing."""
        return json.dumps(self._manifest(self._namespace or namespace, "", "", []), indent=2) + "\n"

    def _manifest(self, namespace: str, holder: str, start: str, owned: list[dict[str, Any]]) -> dict[str, Any]:
        minimum, maximum = self._bounds
        return manifests.ray_cluster(
            self.name, namespace, self._spec, minimum=minimum, maximum=maximum, version=self._version, idle=self._idle,
            holder=holder, start=start, owners=owned,
        )  # fmt: skip

    def start(self) -> None:
        """Make it and wait for its head, unless it runs; raises RunnerError with the reason where it does not come."""
        if self._api is not None:
            return
        api = self._api = KubernetesApi(context=self._context, namespace=self._namespace)
        try:
            self._clear_left_behind(api)
            made = self._manifest(api.namespace, json.dumps(myself()), uuid.uuid4().hex[:8], owners(api, api.namespace))
            self._uid = self._created(api, made)
            atexit.register(_closed_at_exit, weakref.ref(self))
            self._wait(api)
            self._token = token_of(api, self.name)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """The head's address inside of Kubernetes; starts it first. The token is in the environment then."""
        self.start()
        os.environ.update(self.variables)
        assert self._api is not None
        return manifests.head_service(self.name, self._api.namespace)

    @property
    def variables(self) -> dict[str, str]:
        """What each process that joins or uses this Ray has to have in its environment."""
        self.start()
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}

    def adapt(self, *, minimum: int = 0, maximum: int) -> None:
        """Have between so many workers; the autoscaler alone chooses how many of these run, and which go.

        Raises:
            ValueError: bounds that cannot be.
            KubernetesError: it is refused, or another writes to the cluster each time.
        """
        check_bounds(minimum, maximum)
        self._bounds = minimum, maximum
        if self._api is not None:
            _rebind(self._api, self.name, minimum, maximum)

    def close(self) -> None:
        """Delete what was made here; says how it is deleted by hand where that fails. Idempotent; never raises."""
        api, self._api = self._api, None
        if api is None:
            return
        with api:
            try:
                if self._uid:
                    api.delete(RAY_CLUSTERS, self.name, uid=self._uid)
            except AnabranchError as error:
                log.error(
                    "Ray's cluster %s could not be deleted, and its pods run on: %s. `kubectl delete raycluster %s "
                    "-n %s` deletes it", self.name, error, self.name, api.namespace,
                )  # fmt: skip
        self._uid = ""

    # -- its start ---------------------------------------------------------------------------------

    def _clear_left_behind(self, api: KubernetesApi) -> None:
        try:
            found = api.objects(RAY_CLUSTERS, labels=LABELS)
        except KubernetesError as error:
            if error.code == 404:
                raise RunnerError(NO_KUBERAY) from None
            raise
        for name, uid in left_of(found):
            api.delete(RAY_CLUSTERS, name, uid=uid)

    def _created(self, api: KubernetesApi, made: dict[str, Any]) -> str:
        try:
            return str(api.create(RAY_CLUSTERS, made)["metadata"]["uid"])
        except KubernetesError as error:
            if error.reason != "AlreadyExists":
                raise
            raise RunnerError(f"there is a RayCluster {self.name} already: take another name") from None

    def _wait(self, api: KubernetesApi) -> None:
        begun, since, before = time.monotonic(), time.monotonic(), reasons.Kind.STARTING
        while True:
            found = head_trouble(api, self.name)
            if found is None:
                return
            now = time.monotonic()
            since, before = (since, before) if found.kind is before else (now, found.kind)
            if found.kind in HOPELESS and now - since >= HOPELESS_SECONDS:
                raise RunnerError(f"the head of Ray's cluster {self.name} cannot start: {found.text}")
            if now - begun > self._seconds:
                raise RunnerError(
                    f"the head of Ray's cluster {self.name} is not ready after {self._seconds:g} s: {found.text}"
                )
            time.sleep(LOOK_SECONDS)

    @staticmethod
    def attach(name: str, *, namespace: str | None = None, context: str | None = None) -> AttachedRay:
        """Return a Ray that runs already, and is left as it is; `RayRunner(cluster="NAME")` does the same.

        Where the runner is used, this program's pod becomes a node of it, without processors.

        Raises:
            RunnerError: there is none of this name, or its head is not ready.
        """
        return AttachedRay(name, namespace=namespace or "", context=context or "")


def _rebind(api: KubernetesApi, name: str, minimum: int, maximum: int) -> None:
    """Change the bounds of what is there: a patch replaces the whole list, so nobody may have written in between."""
    for left in reversed(range(PATCHES)):
        found = api.get(RAY_CLUSTERS, name)
        there = manifests.rebound(found["spec"]["workerGroupSpecs"], minimum, maximum)
        body = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": {"workerGroupSpecs": there},
        }  # fmt: skip
        try:
            api.patch(RAY_CLUSTERS, name, body)
            return
        except KubernetesError as error:
            if error.code != 409 or not left:
                raise


def checked_version(text: str) -> str:
    """Return a version of Ray that has tokens; raises ValueError for older ones."""
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) < manifests.LEAST_RAY:
        raise ValueError(f"ray_version is {'.'.join(map(str, manifests.LEAST_RAY))} at least, got {text!r}")
    return text


def _own_version() -> str:
    try:
        return version("ray")
    except PackageNotFoundError:
        raise ValueError("ray_version names the Ray of the image: there is none here to take it from") from None


def _closed_at_exit(made: weakref.ref[RayOnKubernetes]) -> None:
    if (cluster := made()) is not None:
        cluster.close()
