"""By which address a scheduler in a pod is reached from here: its Service's name, or a way through the API server."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from anabranch.clusters.addresses import connects
from anabranch.clusters.kubernetes import manifests
from anabranch.clusters.kubernetes.forward import Forward
from anabranch.clusters.kubernetes.starting import ready_scheduler
from anabranch.core.errors import KubernetesError, RunnerError

if TYPE_CHECKING:
    from anabranch.clusters.kubernetes.objects import DaskObjects
    from anabranch.kubernetes.api import KubernetesApi
    from anabranch.kubernetes.reflector import Reflector

INSIDE_SECONDS = 30.0  # for the cluster's DNS to know a new Service
OUTSIDE_SECONDS = 2.0  # for a name that may mean something outside too, as over a VPN
FORWARD = "forward"


class Reach:
    """See the module's head.

    Args:
        pods: a watch of the cluster's pods.
        given: an address that the user names; "forward": through the API server; "": what works.
    """

    def __init__(self, api: KubernetesApi, objects: DaskObjects, pods: Reflector, given: str) -> None:
        self._api = api
        self._objects = objects
        self._pods = pods
        self._given = given

    def address(self) -> str:
        """Return an address; raises RunnerError where the only one does not answer."""
        inside = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
        service = manifests.service_address(self._objects.name, self._objects.namespace)
        named = service if self._given in ("", FORWARD) else self._given
        if self._given != FORWARD:
            given = bool(self._given)
            if _answers(named, INSIDE_SECONDS if inside or given else OUTSIDE_SECONDS):
                return named
        if self._given in ("", FORWARD) and not inside:
            return Forward(self._api, self._objects.namespace, self._pod, manifests.PORT).start()
        raise RunnerError(
            f"the scheduler of {self._objects.name} is ready, and does not answer here at {named}: a NetworkPolicy or "
            'a firewall is between; address="forward" goes through the API server'
        )

    def _pod(self) -> str:
        try:
            return ready_scheduler(self._pods.objects(0.0)) or ""
        except KubernetesError:
            return ""


def _answers(address: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not connects(address):
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
