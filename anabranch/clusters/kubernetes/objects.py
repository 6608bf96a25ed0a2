"""The objects of one Dask cluster at the API: made, looked at, scaled, and taken away again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes import manifests
from anabranch.core.errors import KubernetesError, RunnerError
from anabranch.kubernetes import reasons
from anabranch.kubernetes.refusals import Asked
from anabranch.kubernetes.resources import DEPLOYMENTS, EVENTS, NETWORK_POLICIES, PODS, Resource

if TYPE_CHECKING:
    from anabranch.kubernetes.api import KubernetesApi

DASK_CLUSTERS = Resource("daskclusters", "kubernetes.dask.org", "v1", "DaskCluster")
WORKER_GROUPS = Resource("daskworkergroups", "kubernetes.dask.org", "v1", "DaskWorkerGroup")
ACCESS = Resource("selfsubjectaccessreviews", "authorization.k8s.io", "v1", "SelfSubjectAccessReview", namespaced=False)

# What a cluster needs at the API; docs/clusters.md has it as a Role.
RIGHTS: tuple[tuple[Resource, tuple[str, ...]], ...] = (
    (DASK_CLUSTERS, ("create", "get", "list", "patch", "delete")),
    (WORKER_GROUPS, ("get", "list", "patch", "delete")),
    (DEPLOYMENTS, ("get", "list", "watch", "delete")),
    (PODS, ("list", "watch")),
    (EVENTS, ("list",)),
)
RIGHTS_OF_POLICY: tuple[tuple[Resource, tuple[str, ...]], ...] = ((NETWORK_POLICIES, ("create",)),)
NO_OPERATOR = (
    "the Dask operator is not installed in this Kubernetes cluster: it knows no DaskCluster. `helm install "
    "--repo https://helm.dask.org --create-namespace -n dask-operator --generate-name dask-kubernetes-operator` does it"
)


class DaskObjects:
    """See the module's head.

    Args:
        namespace: in which all of them lie.
    """

    def __init__(self, api: KubernetesApi, name: str, namespace: str) -> None:
        self.name = name
        self.namespace = namespace
        self.labels = f"{manifests.CLUSTER_OF}={name}"
        self.uid = ""  # of the cluster that was made here
        self._api = api

    def check_rights(self, *, policy: bool = False) -> None:
        """See that all that is going to be asked for is allowed; raises RunnerError that names what is not."""
        rights = RIGHTS + RIGHTS_OF_POLICY if policy else RIGHTS
        asked = [(resource, verb) for resource, verbs in rights for verb in verbs]
        work = [self._api.transport.spawn(self._allowed(resource, verb)) for resource, verb in asked]
        missing = [f"{verb} {resource.named}" for (resource, verb), one in zip(asked, work, strict=True)
                   if not one.result()]  # fmt: skip
        if missing:
            verb, _, named = missing[0].partition(" ")
            raise RunnerError(
                f"a Dask cluster in namespace {self.namespace} needs rights that you do not have: "
                f"{', '.join(missing)}. "
                f"`kubectl auth can-i {verb} {named} -n {self.namespace}` asks the same; docs/clusters.md has a Role"
            )

    async def _allowed(self, resource: Resource, verb: str) -> bool:
        wish = {"namespace": self.namespace, "verb": verb, "group": resource.group, "resource": resource.plural}
        body = {"apiVersion": ACCESS.api_version, "kind": ACCESS.kind, "spec": {"resourceAttributes": wish}}
        said = await self._api.answer(Asked("create", ACCESS), "POST", {}, body)
        return bool(said["status"].get("allowed"))

    def there(self, labels: str = "") -> list[dict[str, Any]]:
        """Return the clusters of the namespace; raises RunnerError where the operator is not installed."""
        try:
            return self._api.objects(DASK_CLUSTERS, self.namespace, labels=labels)
        except KubernetesError as error:
            if error.code == 404:
                raise RunnerError(NO_OPERATOR) from None
            raise

    def create(self, manifest: dict[str, Any]) -> None:
        """Make the cluster; raises RunnerError where its name is taken."""
        try:
            made = self._api.create(DASK_CLUSTERS, manifest, self.namespace)
        except KubernetesError as error:
            if error.reason == "AlreadyExists":
                raise RunnerError(
                    f"there is a DaskCluster {self.name} in namespace {self.namespace} already: take another name, use "
                    f"it by KubernetesCluster.attach({self.name!r}), or end it by `kubectl delete daskcluster "
                    f"{self.name} -n {self.namespace}`"
                ) from None
            raise
        self.uid = str(made["metadata"]["uid"])

    def shut(self, start: str) -> None:
        """Keep other pods from the cluster that was made here; the policy goes with it. See `network_policy`."""
        policy = manifests.network_policy(self.name, self.namespace, self.uid, start)
        self._api.create(NETWORK_POLICIES, policy, self.namespace)

    # -- looking -----------------------------------------------------------------------------------

    def workers(self) -> list[dict[str, Any]]:
        """Return the Deployments of the workers, the oldest first."""
        found = self._api.objects(DEPLOYMENTS, self.namespace, labels=f"{self.labels},dask.org/component=worker")
        return sorted(found, key=reasons.created)

    def events(self, one: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the events about an object."""
        return self._api.objects(EVENTS, self.namespace, fields=f"involvedObject.uid={one['metadata']['uid']}")

    def deployment(self, name: str) -> dict[str, Any] | None:
        """Return a Deployment; None where there is none."""
        try:
            return self._api.get(DEPLOYMENTS, name, self.namespace)
        except KubernetesError as error:
            if error.code == 404:
                return None
            raise

    def log(self, pod: str, lines: int, *, previous: bool = False) -> str:
        """Return the last lines of a pod; "" where there are none to be had."""
        params = {"tailLines": str(lines), **({"previous": "true"} if previous else {})}
        try:
            return self._api.text(PODS, pod, "log", params, self.namespace)
        except KubernetesError:
            return ""

    # -- scaling -----------------------------------------------------------------------------------

    def scale(self, replicas: int) -> None:
        """Tell the operator how many workers there are to be."""
        body = {"spec": {"worker": {"replicas": replicas}}}
        self._api.patch(WORKER_GROUPS, manifests.group(self.name), body, self.namespace)

    def delete_worker(self, name: str) -> None:
        self._api.delete(DEPLOYMENTS, name, self.namespace)

    # -- the end -----------------------------------------------------------------------------------

    def remove(self, seconds: float) -> list[str]:
        """Take away the cluster that was made here and all that the operator has made of it.

        An operator that is stopped, or busy, does not let a cluster go: its hold is released after a third of the time.

        Returns:
            What is still there after `seconds`.
        """
        return self.take_away(self.name, self.uid, seconds) if self.uid else []

    def take_away(self, name: str, uid: str, seconds: float) -> list[str]:
        """The same for any cluster of the namespace."""
        begun = time.monotonic()
        released = False
        self._api.delete(DASK_CLUSTERS, name, self.namespace, uid=uid)
        while left := self._left(name, uid):
            passed = time.monotonic() - begun
            if passed > seconds:
                break
            if passed > seconds / 3 and not released:
                released = True
                self._release(name)
            self._sweep(left)
            time.sleep(0.2)
        return [f"{resource.kind} {name}" for resource, name in left]

    def _left(self, name: str, uid: str) -> list[tuple[Resource, str]]:
        """Return what is there, and is not just ending."""
        labels = f"{manifests.CLUSTER_OF}={name}"
        found = [
            (resource, str(one["metadata"]["name"]))
            for resource in (WORKER_GROUPS, DEPLOYMENTS)
            for one in self._api.objects(resource, self.namespace, labels=labels)
        ]
        there = self._api.objects(DASK_CLUSTERS, self.namespace, fields=f"metadata.name={name}")
        ours = [(DASK_CLUSTERS, name) for one in there if one["metadata"]["uid"] == uid]
        return ours + (found if ours or not there else [])

    def _sweep(self, left: list[tuple[Resource, str]]) -> None:
        """Delete what has lost its owner: the operator adopts a group a moment after it has made it."""
        if not any(resource is DASK_CLUSTERS for resource, _ in left):
            for resource, name in left:
                self._api.delete(resource, name, self.namespace)

    def _release(self, name: str) -> None:
        try:
            self._api.patch(DASK_CLUSTERS, name, {"metadata": {"finalizers": None}}, self.namespace)
        except KubernetesError as error:
            if error.code != 404:
                raise


