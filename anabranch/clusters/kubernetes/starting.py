"""Waits until a scheduler's pod is ready, and says why where it does not become so.

    pods, Deployment, events --look--> ready: its pod's name
                                       a reason that may pass: told once, waited for
                                       one that does not pass by waiting: RunnerError after a few seconds of it
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes import manifests
from anabranch.core.errors import RunnerError
from anabranch.kubernetes import reasons
from anabranch.kubernetes.reasons import Kind, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.clusters.kubernetes.objects import DaskObjects
    from anabranch.kubernetes.reflector import Reflector

log = logging.getLogger("anabranch.clusters")

HOPELESS_SECONDS = 12.0  # of one and the same reason that does not pass by waiting: a registry may fail once
OPERATOR_SECONDS = 30.0  # for the operator to make the scheduler's Deployment
TELL_SECONDS = 10.0  # of waiting for one reason, until it is told
LOOK_SECONDS = 1.0
LOG_LINES = 5
HOPELESS = {Kind.IMAGE, Kind.SETTINGS, Kind.COMMAND, Kind.CRASHES, Kind.REFUSED}


def why(pod: dict[str, Any], events: Sequence[dict[str, Any]], objects: DaskObjects) -> Reason:
    """Return why a pod does not run; of one that dies again and again with its last lines."""
    found = reasons.of_pod(pod, events, time.time())
    if found.kind is not Kind.CRASHES:
        return found
    said = objects.log(str(pod["metadata"]["name"]), LOG_LINES, previous=True)
    lines = " / ".join(line.strip() for line in said.splitlines() if line.strip())
    return found._replace(text=f"{found.text}; its log ends with: {lines[-800:]}") if lines else found


class Start:
    """The start of one scheduler.

    Args:
        pods: a watch of all pods of the cluster.
        given_up: whether nobody waits for it any more.
    """

    def __init__(self, pods: Reflector, objects: DaskObjects, seconds: float, given_up: Callable[[], bool]) -> None:
        self._pods = pods
        self._objects = objects
        self._seconds = seconds
        self._given_up = given_up
        self._reason = Reason(Kind.STARTING, "the Dask operator has not begun yet")
        self._since = time.monotonic()  # of the reason
        self._told = False

    def wait(self) -> str:
        """Wait until the scheduler is ready, and return its pod's name; "" when it was given up.

        Raises:
            RunnerError: it does not become ready; says why.
        """
        end = time.monotonic() + self._seconds
        while not self._given_up():
            if name := self._pods.wait(ready_scheduler, LOOK_SECONDS):
                return name
            self._look([pod for pod in self._pods.objects() if is_scheduler(pod)])
            if time.monotonic() > end:
                raise RunnerError(f"{self._head} is not ready after {self._seconds:g} s: {self._reason.text}")
        return ""

    @property
    def _head(self) -> str:
        return f"the scheduler of the cluster {self._objects.name} in namespace {self._objects.namespace}"

    def _look(self, pods: list[dict[str, Any]]) -> None:
        found = self._of_pods(pods) if pods else self._of_operator()
        now = time.monotonic()
        if found.kind is not self._reason.kind:
            self._since, self._told = now, False
        self._reason = found
        passed = now - self._since
        if found.kind in HOPELESS and passed >= HOPELESS_SECONDS:
            raise RunnerError(f"{self._head} cannot start: {found.text}")
        if passed >= TELL_SECONDS and not self._told:
            self._told = True
            log.warning("%s is not ready yet: %s", self._head, found.text)

    def _of_pods(self, pods: list[dict[str, Any]]) -> Reason:
        newest = max(pods, key=reasons.created)
        return why(newest, self._objects.events(newest), self._objects)

    def _of_operator(self) -> Reason:
        """Return why there is no pod: no Deployment of it, or one that gets none."""
        deployment = self._objects.deployment(manifests.scheduler(self._objects.name))
        if deployment is None:
            text = "the Dask operator has not begun yet"
            if time.monotonic() - self._since < OPERATOR_SECONDS and self._reason.kind is Kind.STARTING:
                return Reason(Kind.STARTING, text)
            raise RunnerError(
                f"{self._head} cannot start: no Dask operator has acted within {OPERATOR_SECONDS:g} s. It is stopped, "
                "or does not watch this namespace: `kubectl get pods --all-namespaces -l "
                "app.kubernetes.io/name=dask-kubernetes-operator` lists it"
            )
        return of_deployment(deployment)


def of_deployment(deployment: dict[str, Any]) -> Reason:
    """Return why a Deployment has no pod."""
    failed = reasons.condition(deployment, "ReplicaFailure")
    if failed.get("status") != "True":
        return Reason(Kind.STARTING, "its pod is being made")
    told = str(failed.get("message") or failed.get("reason") or "")
    return reasons.of_refusal(told)


def is_scheduler(pod: dict[str, Any]) -> bool:
    return bool(pod["metadata"]["labels"].get("dask.org/component") == "scheduler")


def ready_scheduler(pods: Sequence[dict[str, Any]]) -> str | None:
    """Return the name of the scheduler's pod that is ready; None where none is."""
    for pod in filter(is_scheduler, pods):
        if reasons.condition(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp"):
            return str(pod["metadata"]["name"])
    return None
