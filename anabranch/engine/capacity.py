"""Resources that are not there (yet): what is missing, and who waits for it until when.

A runner whose maximum is known refuses at submit. One that may grow, a borrowed cluster, is given
time: the run stays Pending and says what it waits for, and fails when nobody brought it.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.core.maps import MapRun


def shortfall(needs: Mapping[str, float], offers: Mapping[str, float]) -> str:
    """What one worker would have to have and none does, as "gpus=2 (at most 1)"; "" when there is nothing."""
    found = []
    for name, amount in needs.items():
        had = offers.get(name, 0.0)
        if amount > had:
            found.append(f"{name}={amount:g} ({f'at most {had:g}' if had else 'none'})")
    return ", ".join(found)


class Waiting:
    """Items (None: whole maps) that wait for capacity, by the time at which they give up."""

    __slots__ = ("_order", "due")

    def __init__(self) -> None:
        self.due: list[tuple[float, int, MapRun, int | None]] = []
        self._order = itertools.count()

    def add(self, map: MapRun, index: int | None, due: float) -> None:
        heapq.heappush(self.due, (due, next(self._order), map, index))

    def over(self, now: float) -> list[tuple[MapRun, int | None]]:
        """Those whose time is over and who still wait."""
        found = []
        while self.due and self.due[0][0] <= now:
            _, _, map, index = heapq.heappop(self.due)
            if map.short:
                found.append((map, index))
        return found

    def next_due(self) -> float | None:
        return self.due[0][0] if self.due else None

    def forget(self, map: MapRun) -> None:
        """The map has what it needs, or is needed no more."""
        self.due = [entry for entry in self.due if entry[2] is not map]
        heapq.heapify(self.due)
