"""Resources that no worker has yet: the missing ones, the items that wait for them, and until when.

A runner with a known maximum refuses at submit. One that may grow, a borrowed cluster, is given time: the run stays
Pending with the missing resources as its reason, and fails when no worker with them has come.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from anabranch.core.errors import ResourceError
from anabranch.core.reasons import make
from anabranch.core.reports import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.core.maps import MapRun
    from anabranch.core.reasons import Reason
    from anabranch.engine.tables import Tables


def shortfall(needs: Mapping[str, float], offers: Mapping[str, float]) -> str:
    """Return the resources that no single worker has enough of, as "gpus=2 (at most 1)"; "" when there are none."""
    found = []
    for name, amount in needs.items():
        had = offers.get(name, 0.0)
        if amount > had:
            found.append(f"{name}={amount:g} ({f'at most {had:g}' if had else 'none'})")
    return ", ".join(found)


class Waiting:
    """Items (None: whole maps) that wait for capacity, by the time at which they fail."""

    __slots__ = ("_order", "due")

    def __init__(self) -> None:
        self.due: list[tuple[float, int, MapRun, int | None]] = []
        self._order = itertools.count()

    def add(self, map: MapRun, index: int | None, due: float) -> None:
        heapq.heappush(self.due, (due, next(self._order), map, index))

    def over(self, now: float) -> list[tuple[MapRun, int | None]]:
        """Return the items that still wait at the end of their time."""
        found = []
        while self.due and self.due[0][0] <= now:
            _, _, map, index = heapq.heappop(self.due)
            if map.queue.short:
                found.append((map, index))
        return found

    def forget(self, map: MapRun) -> None:
        """Forget a map that has its resources, or is not needed any more."""
        self.due = [entry for entry in self.due if entry[2] is not map]
        heapq.heapify(self.due)


class Capacity:
    """Checks that a worker has the resources of a map; where the runner may grow, items wait for one."""

    __slots__ = ("_tables", "timeout", "waiting")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.timeout = 300.0
        self.waiting = Waiting()

    def slots_changed(self, lane: int, now: int, maximum: int | None, offers: dict[str, float] | None = None) -> None:
        """Note that workers have come or gone; `offers` has the most of each resource that one worker has."""
        here = self._tables.lanes[lane]
        here.slots, here.maximum = now, maximum
        self._tables.dirty_lanes.add(lane)
        if offers is None or offers == here.offers:
            return
        here.offers = offers
        on_lane = [m for m in self._tables.maps.values() if m.sending.lane == lane]
        for map in [m for m in on_lane if m.sending.resources and not m.finished]:
            self.look(map)

    def look(self, map: MapRun) -> None:
        """Compare the needs of the map's items with the workers' present resources."""
        lane = self._tables.lanes[map.sending.lane]
        if not (map.sending.resources and lane.capabilities.resources_elastic):
            return
        # Without any worker the resources are unknown; the chunk is sent, as the demand for a worker.
        before, map.queue.short = map.queue.short, shortfall(map.sending.resources, lane.offers) if lane.offers else ""
        if before and not map.queue.short:
            self.waiting.forget(map)
            self._tables.enqueue(map)
        elif map.queue.short and not before:
            self.wait(map, None)

    def wait(self, map: MapRun, index: int | None) -> None:
        """Let an item (None: the whole map) wait for a large enough worker, until the time-out."""
        self.waiting.add(map, index, self._tables.now + self.timeout)

    def refusal(self, map: MapRun) -> tuple[str, ErrorInfo, Reason]:
        """Return the end of items for which no worker came: message, error and reason."""
        name = self._tables.lanes[map.sending.lane].capabilities.name
        message = (
            f"task {map.spec.name!r} asks for {map.queue.short} on one worker, and the {name} runner got none such "
            f"within {self.timeout:g} s: ask for less, start such workers, or wait longer (setting capacity_timeout)"
        )
        error = ErrorInfo("ResourceError", message, "", exception=ResourceError(message))
        return message, error, make("capacity", resources=map.queue.short, seconds=self.timeout)
