"""Items that come back at a time: retries, and items that wait for another run's cached value."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from anabranch.core import states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.maps import MapRun
    from anabranch.engine.tables import Tables


class Timers:
    """Delayed items, by the time at which each comes back; items that were cancelled meanwhile are skipped."""

    __slots__ = ("_order", "_tables", "due")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._order = itertools.count()
        self.due: list[tuple[float, int, MapRun, int]] = []

    def delay(self, map: MapRun, index: int, seconds: float, code: int) -> None:
        """Let the item come back after `seconds`; it holds nothing meanwhile."""
        due = self._tables.now + seconds
        map.codes[index] = code
        map.queue.delayed[index] = (due, code)
        heapq.heappush(self.due, (due, next(self._order), map, index))

    def over(self, now: float) -> Iterator[tuple[MapRun, int]]:
        """Take out the items that are due; they are pending again."""
        while self.due and self.due[0][0] <= now:
            _, _, map, index = heapq.heappop(self.due)
            if index in map.queue.delayed and map.queue.delayed[index][0] <= now:
                del map.queue.delayed[index]
                map.codes[index] = states.PENDING
                yield map, index

    def next_due(self) -> float | None:
        return self.due[0][0] if self.due else None
