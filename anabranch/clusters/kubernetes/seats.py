"""The workers of a cluster as two watches and the scheduler see them: Deployments, their pods, connections."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes.scaling import Seat
from anabranch.clusters.kubernetes.starting import HOPELESS, HOPELESS_SECONDS, is_scheduler, of_deployment, why
from anabranch.kubernetes import reasons

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from anabranch.clusters.kubernetes.objects import DaskObjects
    from anabranch.kubernetes.reasons import Reason
    from anabranch.kubernetes.reflector import Reflector

ASK_SECONDS = 5.0  # at least, between two questions for the events of one pod


class Seats:
    """See the module's head."""

    def __init__(self, objects: DaskObjects, deployments: Reflector, pods: Reflector) -> None:
        self._objects = objects
        self._deployments = deployments
        self._pods = pods
        self._known: dict[str, tuple[float, Reason]] = {}  # by Deployment: when it was asked, why it does not run
        self._since: dict[str, float] = {}  # since when a reason does not pass by waiting

    def look(self, workers: Mapping[str, bool], closing: Collection[str] = ()) -> list[Seat]:
        """Return all workers, the oldest first; raises KubernetesError where the API does not answer.

        Args:
            workers: those that are connected, by name, and whether each is busy.
            closing: those of them that get no work any more.
        """
        deployments = sorted(self._deployments.objects(), key=reasons.created)
        pods = {str(pod["metadata"]["name"]): pod for pod in self._pods.objects() if not is_scheduler(pod)}
        found = []
        for deployment in deployments:
            name = str(deployment["metadata"]["name"])
            if name in workers:
                self._known.pop(name, None)
                self._since.pop(name, None)
                found.append(Seat(name, True, workers[name], closing=name in closing))
            else:
                found.append(self._missing(deployment, pods))
        return found

    def _missing(self, deployment: dict[str, Any], pods: Mapping[str, dict[str, Any]]) -> Seat:
        name, now = str(deployment["metadata"]["name"]), time.monotonic()
        asked, reason = self._known.get(name, (-ASK_SECONDS, None))
        if reason is None or now - asked >= ASK_SECONDS:
            mine = [pod for pod_name, pod in pods.items() if pod_name.startswith(f"{name}-")]
            newest = max(mine, key=reasons.created, default=None)
            reason = of_deployment(deployment) if newest is None else self._why(newest)
            self._known[name] = (now, reason)
        if reason.kind not in HOPELESS:
            self._since.pop(name, None)
            return Seat(name, reason=reason.text)
        since = self._since.setdefault(name, now)
        return Seat(name, reason=reason.text, hopeless=now - since >= HOPELESS_SECONDS)

    def _why(self, pod: dict[str, Any]) -> Reason:
        return why(pod, self._objects.events(pod), self._objects)
