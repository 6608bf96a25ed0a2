"""How a worker goes without loss: its values move, what it runs ends, its Deployment is deleted, `replicas` sinks.

    retire --stays--> no other worker has room for its values: it is kept
           --moved--> ... until it runs no item --> all that was asked for is made? --> DELETE, PATCH replicas
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from anabranch.clusters.kubernetes.door import MOVED, STAYS
from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from anabranch.clusters.kubernetes.doors import Doors
    from anabranch.clusters.kubernetes.objects import DaskObjects
    from anabranch.clusters.kubernetes.scaling import Group

log = logging.getLogger("anabranch.clusters")

DRAIN_SECONDS = 120.0  # for what runs on a worker that is not needed
LOOK_SECONDS = 0.3


class Leaving:
    """See the module's head.

    Args:
        writing: held by the one that changes replicas or Deployments.
    """

    def __init__(self, objects: DaskObjects, doors: Doors, group: Group, writing: asyncio.Lock) -> None:
        self._objects = objects
        self._doors = doors
        self._group = group
        self._writing = writing

    async def leave(self, name: str) -> None:
        """Let a worker go, or keep it where it cannot go without loss."""
        try:
            if not await self._emptied(name):
                log.info("%s: no other worker has room for its values", name)
                self._group.keep(name, time.monotonic())
                return
            await self._deleted(name)
            await self._doors.leave([name])
        except (AnabranchError, OSError) as error:
            log.warning("%s does not go yet: %s", name, error)
            self._group.keep(name, time.monotonic())

    async def _emptied(self, name: str) -> bool:
        """Wait until a worker has no value that others lack, and runs no item; returns whether it came to that."""
        end = time.monotonic() + DRAIN_SECONDS
        rests = False
        while True:
            what, runs = await self._doors.retire(name)
            if what == STAYS:
                return False
            if what != MOVED or (rests and not runs):
                return True
            rests = not runs  # what ended last has left a value: once more
            if time.monotonic() > end:
                log.warning("%s still runs an item %g s after it was to end", name, DRAIN_SECONDS)
                return True
            await asyncio.sleep(0.0 if rests else LOOK_SECONDS)

    async def _deleted(self, name: str) -> None:
        """Delete a Deployment, once the operator has none to make any more: else it would choose which go."""
        while True:
            if await self._delete(name):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _delete(self, name: str) -> bool:
        async with self._writing:
            there = await asyncio.to_thread(self._objects.workers)
            if len(there) < self._group.asked:
                return False
            await asyncio.to_thread(self._objects.delete_worker, name)
            left = sum(one["metadata"]["name"] != name for one in there)
            await asyncio.to_thread(self._objects.scale, left)
            self._group.asked = left
            log.info("%s has gone; %s workers are left", name, left)
        return True
