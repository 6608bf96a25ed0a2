"""A Ray of pods that runs already, by the name of its RayCluster: this program becomes a node, and leaves it as it is.

AttachedRay --API--> its head is ready? Secret: the token
            --ray start, no processors--> a node beside this program, which ends with it
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from pathlib import Path

from anabranch.clusters import ray_parts
from anabranch.clusters.addresses import own_addresses
from anabranch.clusters.kubernetes import ray_manifests as manifests
from anabranch.clusters.kubernetes.ray_objects import NO_KUBERAY, RAY_CLUSTERS, head_trouble, token_of
from anabranch.core.errors import KubernetesError, RunnerError
from anabranch.core.showing import Facts, Shown
from anabranch.kubernetes.api import KubernetesApi

READY_SECONDS = 60.0
LOOK_SECONDS = 0.5
JOIN_SECONDS = 120.0
_EARLY = "No node info found for head node"


class AttachedRay(Shown):
    """A Ray that another program has made, or that stands in the Kubernetes cluster for all.

    Args:
        name: of the RayCluster.
        namespace: "": that of the kubeconfig's context or of the pod.

    Raises:
        RunnerError: there is none of this name, or its head is not ready.
    """

    def __init__(self, name: str, *, namespace: str = "", context: str = "") -> None:
        self.name: str = name
        self._node: Node | None = None
        with KubernetesApi(context=context, namespace=namespace) as api:
            self._place = api.namespace
            _find(api, name)
            end = time.monotonic() + READY_SECONDS
            while (trouble := head_trouble(api, name)) is not None:
                if time.monotonic() > end:
                    raise RunnerError(
                        f"the head of Ray's cluster {name} is not ready after {READY_SECONDS:g} s: {trouble.text}"
                    )
                time.sleep(LOOK_SECONDS)
            self._token = token_of(api, name)

    def __repr__(self) -> str:
        return f"RayOnKubernetes.attach({self.name!r})"

    def facts(self) -> Facts:
        """Return what a notebook shows of it, without asking Kubernetes."""
        head = manifests.head_service(self.name, self._place)
        return Facts("RayOnKubernetes", self.name, "attached", (("head", head, ""),))

    @property
    def variables(self) -> dict[str, str]:
        """What each process that uses this Ray has to have in its environment."""
        return ray_parts.variables(self._token)

    @property
    def address(self) -> str:
        """The head's address; this program's machine or pod is a node without processors from then on.

        Raises:
            RunnerError: it cannot become one; Ray's words.
        """
        os.environ.update(self.variables)
        head = manifests.head_service(self.name, self._place)
        if self._node is None:
            self._node = Node(head, self.name)
        return head

    def close(self) -> None:
        """End the node of this program; the cluster runs on. Idempotent."""
        node, self._node = self._node, None
        if node is not None:
            node.close()


class Node:
    """A node of Ray's beside this program, since Ray takes drivers on its own nodes only."""

    def __init__(self, head: str, name: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(_closed_at_exit, weakref.ref(self))
        end = time.monotonic() + JOIN_SECONDS
        while not self._up(said := self._joined(head, end)):
            # A head with an open port may be no node of its own yet, and Ray does not wait for that for long.
            if _EARLY not in said or time.monotonic() > end:
                self.close()
                last = " | ".join(said.splitlines()[-3:])
                raise RunnerError(
                    f"this machine cannot become a node of Ray's cluster {name} at {head}, and Ray takes drivers on "
                    f"its own nodes only: run the program in a pod of the same Kubernetes cluster. Ray says: {last}"
                )

    @staticmethod
    def _up(said: str) -> bool:
        return "Ray runtime started" in said

    def _joined(self, head: str, end: float) -> str:
        """Start it, and wait until it is up, has ended, or the time is over; returns what it has said."""
        shutil.rmtree(ray_parts.own_folder(self._folder), ignore_errors=True)
        os.mkdir(ray_parts.own_folder(self._folder))
        log = Path(self._folder, "start.log")
        command = ray_parts.start_command(self._folder, own_addresses()[0], 0, 0, head)
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        while True:
            over = self._process.poll() is not None or time.monotonic() > end
            said = log.read_text(errors="replace")
            if over or self._up(said):
                return said
            time.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """End all of its processes. Idempotent."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _find(api: KubernetesApi, name: str) -> None:
    try:
        there = sorted(str(one["metadata"]["name"]) for one in api.objects(RAY_CLUSTERS))
    except KubernetesError as error:
        if error.code == 404:
            raise RunnerError(NO_KUBERAY) from None
        raise
    if name not in there:
        raise RunnerError(
            f"there is no RayCluster {name!r} in namespace {api.namespace} (there are: {', '.join(there) or 'none'})"
        )


def _closed_at_exit(made: weakref.ref[Node]) -> None:
    if (node := made()) is not None:
        node.close()
