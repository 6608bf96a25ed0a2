"""How a worker goes without loss: its values move, what it runs ends, its Deployment is deleted, `replicas` sinks.

    retire --stays--> no other worker has room for its values: it is kept
           --moved--> it has got an item, and the user has fixed no number: it is kept, and gets work again
           --moved--> ... until it runs no item --> all that was asked for is made? --> word, DELETE, PATCH replicas

A worker that has been retired gets no work, so an error is no end: each step is done again until it is done. One that
was left would count as a worker, and a flow would wait for it without an end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from anabranch.clusters.kubernetes.door import GONE, MOVED, MOVING, STAYS
from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anabranch.clusters.kubernetes.doors import Doors
    from anabranch.clusters.kubernetes.objects import DaskObjects
    from anabranch.clusters.kubernetes.scaling import Group

log = logging.getLogger("anabranch.clusters")

DRAIN_SECONDS = 120.0  # for what runs on a worker that is not needed
LOOK_SECONDS = 0.3
PAUSE_SECONDS = 2.0  # after an error, until it is tried again


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
        self._half: set[str] = set()  # being deleted, and `replicas` has not sunk yet

    async def leave(self, name: str) -> None:
        """Let a worker go, or keep it where it cannot go without loss."""
        if why := await self._until_done(name, partial(self._emptied, name)):
            log.info("%s stays: %s", name, why)
            self._group.keep(name, time.monotonic())
            return
        await self._until_done(name, partial(self._deleted, name))

    async def _until_done(self, name: str, step: Callable[[], Awaitable[str]]) -> str:
        """Do a step until there is no error in it; returns what it returns."""
        told = ""
        while True:
            try:
                return await step()
            except (AnabranchError, OSError) as error:
                if (text := str(error) or type(error).__name__) != told:
                    log.warning("%s does not go yet: %s", name, text)
                told = text
            await asyncio.sleep(PAUSE_SECONDS)

    async def _emptied(self, name: str) -> str:
        """Wait until a worker has no value that others lack, and runs no item; returns why it stays, or ""."""
        end = time.monotonic() + DRAIN_SECONDS
        rests = False
        while True:
            what, runs, busy = await self._doors.retire(name)
            if what == STAYS:
                return "no other worker has room for its values"
            if what != GONE and busy and not self._group.wants.fixed:
                await self._doors.stay(name)
                return "it has got something to do"
            if what == GONE or (what == MOVED and rests and not runs):
                return ""
            rests = what == MOVED and not runs  # what ended last has left a value: once more
            if time.monotonic() > end and what == MOVING:
                await self._doors.stay(name)
                return "its values are not all with workers that stay"
            if time.monotonic() > end:
                log.warning("%s still runs an item %g s after it was to end", name, DRAIN_SECONDS)
                return ""
            await asyncio.sleep(0.0 if rests else LOOK_SECONDS)

    async def _deleted(self, name: str) -> str:
        """Delete a Deployment, once the operator has none to make any more: else it would choose which go."""
        while True:
            if await self._delete(name):
                return ""
            await asyncio.sleep(LOOK_SECONDS)

    async def _delete(self, name: str) -> bool:
        async with self._writing:
            there = {str(one["metadata"]["name"]) for one in await asyncio.to_thread(self._objects.workers)}
            if len(there | self._half) < self._group.asked:
                return False
            self._half.add(name)  # before: of a delete whose answer is lost it is not known whether it was done
            await self._told(name)
            await asyncio.to_thread(self._objects.delete_worker, name)
            left = len(there - {name})
            await asyncio.to_thread(self._objects.scale, left)
            self._half.discard(name)
            self._group.asked = left
            log.info("%s has gone; %s workers are left", name, left)
        return True

    async def _told(self, name: str) -> None:
        """Tell the scheduler before the DELETE: what waits on a worker whose pod dies first counts as crashed."""
        try:
            await self._doors.leave([name])
        except OSError as error:  # its pod ends all the same, and the scheduler sees that
            log.info("%s goes without a word to the scheduler: %s", name, error)
