"""The process that holds one Dask cluster on Kubernetes: it makes it, scales it by what programs want, takes it away.

    driver's stdin --end--> the DaskCluster is deleted, and all with it; then this process ends
    scheduler's doors: demands, wishes, workers --+                       +--> grow: PATCH replicas, the operator makes
    watch of Deployments and pods: what there is -+--> Group.step ------->+        Deployments
                                                       (scaling.py)       +--> retire: values move, items end, DELETE
                                                                                   of the Deployment, PATCH replicas

It alone writes to the group of workers. A driver's pod that is killed takes the cluster along by ownerReferences; one
that is killed elsewhere with this process leaves it to the operator, which ends what has been idle without a holder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.clusters import named_file
from anabranch.clusters.holding import hold, listen_for_the_end, tell
from anabranch.clusters.kubernetes import manifests
from anabranch.clusters.kubernetes.doors import Doors
from anabranch.clusters.kubernetes.leaving import Leaving
from anabranch.clusters.kubernetes.left_behind import clear_left_behind, myself
from anabranch.clusters.kubernetes.objects import DaskObjects
from anabranch.clusters.kubernetes.owning import owners
from anabranch.clusters.kubernetes.pod_spec import PodSpec
from anabranch.clusters.kubernetes.reaching import Reach
from anabranch.clusters.kubernetes.scaling import Group
from anabranch.clusters.kubernetes.seats import Seats
from anabranch.clusters.kubernetes.starting import Start
from anabranch.clusters.wants import Wants
from anabranch.core.clusters import Demand
from anabranch.core.errors import AnabranchError, RunnerError
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.reflector import Reflector
from anabranch.kubernetes.resources import DEPLOYMENTS, PODS

if TYPE_CHECKING:
    from anabranch.clusters.kubernetes.scaling import Seat

log = logging.getLogger("anabranch.clusters")

STEP_SECONDS = 1.0
OPEN_SECONDS = 30.0  # for the first answer of a scheduler that is ready
WORTH_SECONDS = 10.0  # of work for each thread of a pod that is asked for: pods start in seconds, jobs in minutes
REMOVE_SECONDS = 24.0  # for the cluster to go; its driver waits for 30


def main(options: dict[str, Any]) -> None:
    """The holder's process, until its driver or its user ends it."""
    hold(options, Holder)


class Holder:
    """One cluster; see the module's head."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._spec = PodSpec(**options["spec"])
        minimum, maximum = options["bounds"]
        wants = Wants(self._spec.threads, minimum, maximum, options["idle"], WORTH_SECONDS)
        self._group = Group(wants, minimum, options["patience"] or math.inf)
        self._api = KubernetesApi(context=options["context"], namespace=options["namespace"])
        self._objects = DaskObjects(self._api, options["name"], self._api.namespace)
        self._ending = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()  # of replicas and Deployments
        self._seen: list[Seat] = []
        self._failed = ""  # why the API was of no use at the last step
        self._named = ""  # what the file of its name says
        self._doors: Doors
        self._leaving: Leaving

    async def run(self) -> None:
        """Hold the cluster until it is to end."""
        listen_for_the_end(self._ending, detached=bool(self._options.get("detached")))
        try:
            await asyncio.to_thread(self._create)
            labels, place = self._objects.labels, self._objects.namespace
            pods = Reflector(self._api, PODS, place, labels=labels)
            workers = Reflector(self._api, DEPLOYMENTS, place, labels=f"{labels},dask.org/component=worker")
            start = Start(pods, self._objects, self._options["start_timeout"], self._ending.is_set)
            if await asyncio.to_thread(start.wait):
                reach = Reach(self._api, self._objects, pods, self._options["address"])
                await self._hold(reach, Seats(self._objects, workers, pods))
        finally:
            await self._end()

    def _create(self) -> None:
        """Make the cluster, once it is known that it can be taken away again."""
        options, objects = self._options, self._objects
        objects.check_rights(policy=options["network_policy"])
        clear_left_behind(objects)
        objects.create(manifests.dask_cluster(
            objects.name, objects.namespace, self._spec, replicas=self._group.asked, holder=json.dumps(myself()),
            idle_timeout=options["idle_timeout"], owners=owners(self._api, objects.namespace),
            start=options["start"],
        ))  # fmt: skip
        if options["network_policy"]:
            objects.shut(options["start"])

    async def _hold(self, reach: Reach, seats: Seats) -> None:
        address = await asyncio.to_thread(reach.address)
        self._doors = Doors(address)
        self._leaving = Leaving(self._objects, self._doors, self._group, self._writing)
        await self._opened()
        self._say_up(address)
        while not self._ending.is_set():
            await self._turn(seats)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), STEP_SECONDS)

    async def _opened(self) -> None:
        """Wait for the scheduler's first answer; raises RunnerError where none comes."""
        end = time.monotonic() + OPEN_SECONDS
        while True:
            try:
                await self._doors.tell(self.status())
                return
            except OSError as error:
                if time.monotonic() > end:
                    raise RunnerError(
                        f"the scheduler of {self._objects.name} is ready, and does not answer here: {error}. A way "
                        "through the API server takes the right to get and create pods/portforward"
                    ) from error
            await asyncio.sleep(0.2)

    def _say_up(self, address: str) -> None:
        options = self._options
        words: dict[str, Any] = {"addresses": [address], "tls": {}}
        if options.get("detached"):
            words |= {"namespace": self._objects.namespace, "context": options["context"]}
            self._named = named_file.write(Path(options["home"]), options, words, Path(options["folder"]))
        tell(options["out"], words)

    # -- the loop ----------------------------------------------------------------------------------

    async def _turn(self, seats: Seats) -> None:
        """Do what is to be done now."""
        try:
            said = await self._doors.tell(self.status())
        except OSError as error:  # the scheduler is starting anew, or the way to it is cut
            log.warning("the scheduler of %s does not answer: %s", self._objects.name, error)
            return
        if said["bounds"]:
            self._group.want(*said["bounds"])
        if said["stop"]:
            self._ending.set()
        try:
            self._seen = await asyncio.to_thread(seats.look, said["workers"], said["closing"])
            self._failed = ""
        except AnabranchError as error:
            self._note(error)
            return
        plan = self._group.step(time.monotonic(), self._seen, [Demand(*one) for one in said["demands"]])
        if plan.more:
            await self._grow(plan.more)
        for name in plan.retire:
            self._begin(self._leaving.leave(name))

    async def _grow(self, more: int) -> None:
        async with self._writing:
            try:
                there = await asyncio.to_thread(self._objects.workers)
                replicas = max(self._group.asked, len(there)) + more
                await asyncio.to_thread(self._objects.scale, replicas)
            except AnabranchError as error:
                self._note(error)
                return
            log.info("%s: %s workers, %s more", self._objects.name, replicas, more)
            self._group.asked = replicas

    def _note(self, error: AnabranchError) -> None:
        if str(error) != self._failed:
            log.warning("%s", error)
        self._failed = str(error)

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def status(self) -> dict[str, Any]:
        """Return what there is: pods of workers, what was asked for; as clusters of jobs say it."""
        group, seen = self._group, self._seen
        trouble = group.trouble(time.monotonic(), seen)
        jobs = [
            {"name": seat.name, "id": seat.name, "workers": int(seat.joined), "reason": seat.reason,
             "state": "leaving" if seat.name in group.leaving else "running" if seat.joined else "queued"}
            for seat in seen
        ]  # fmt: skip
        return {
            "name": self._objects.name, "kind": "kubernetes", "namespace": self._objects.namespace, "jobs": jobs,
            "workers": sum(seat.joined for seat in seen), "minimum": group.wants.minimum,
            "maximum": group.wants.maximum, "target": group.wants.target, "submitted": group.asked, "lost": 0,
            "trouble": trouble, "why": trouble or self._failed or group.why(seen), "pid": os.getpid(),
        }  # fmt: skip

    # -- the end -----------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Take the cluster away; say what could not be."""
        for task in list(self._tasks):
            task.cancel()
        async with self._writing:
            left = await asyncio.to_thread(self._remove)
        if left:
            log.error("%s in namespace %s: still there are %s", self._objects.name, self._objects.namespace, left)
        if self._options.get("detached"):
            named_file.remove(Path(self._options["home"]), self._options["name"], self._named)
            if not left:
                shutil.rmtree(self._options["folder"], ignore_errors=True)

    def _remove(self) -> str:
        try:
            return ", ".join(self._objects.remove(REMOVE_SECONDS))
        except AnabranchError as error:
            return f"what could not be looked at: {error}"
