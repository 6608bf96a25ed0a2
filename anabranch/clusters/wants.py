"""How many units an elastic cluster wants - jobs, pods -, and to how many it may shrink: no clock, no infrastructure.

    demands, bounds --look--> target: how many the work asks for now
                              floor:  the most that it asked for within the last `idle` seconds
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.clusters import Demand

WORTH_SECONDS = 60.0  # of work for each of its processors: a unit with less is not asked for, beside the first
IDLE_SECONDS = 60.0
UNSEEN_SECONDS = 5.0  # for a first report to come; an item that takes longer counts as one that takes so much longer


def target(
    demands: Iterable[Demand], cores: int, minimum: int, maximum: int, unseen_seconds: float,
    worth_seconds: float = WORTH_SECONDS,
) -> int:  # fmt: skip
    """Return how many units of so many cores the work asks for.

    Args:
        unseen_seconds: what an item of an unseen task takes at least: so long they have been running.
        worth_seconds: of work for each core of a unit.
    """
    slots = seconds = 0.0
    for demand in demands:
        slots += demand.slots
        seconds += demand.seconds + demand.unseen * unseen_seconds
    room = math.ceil(slots / cores)
    worth = math.ceil(seconds / (worth_seconds * cores))
    return max(minimum, min(maximum, room, max(worth, 1 if slots else 0)))


class Wants:
    """What one cluster wants, over time.

    Args:
        cores: of each unit.
        minimum, maximum: units; the same number: so many, whatever there is to do.
        idle: seconds of too little work after which units are let go.
        worth_seconds: of work for each core of a unit that is asked for.

    Attributes:
        target: how many are wanted.
        fixed: the user has said how many: busy ones go too, and nobody waits.
    """

    def __init__(
        self, cores: int, minimum: int, maximum: int, idle: float, worth_seconds: float = WORTH_SECONDS
    ) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.target = minimum
        self._cores = cores
        self._idle = idle
        self._worth = worth_seconds
        self._told = False  # the user has said how many, and is not made to wait
        self._past: list[tuple[float, int]] = []  # targets of the last `idle` seconds
        self._since: float | None = None  # of these
        self._unseen_since: float | None = None

    def tell(self, minimum: int, maximum: int) -> None:
        """Change the bounds."""
        self.minimum, self.maximum, self._told = minimum, maximum, True

    def settled(self) -> None:
        """Note that there are as many as wanted: the user's word is fulfilled."""
        self._told = False

    @property
    def fixed(self) -> bool:
        return self._told or self.minimum == self.maximum

    def look(self, now: float, demands: Iterable[Demand], busy: bool) -> None:
        """Take what programs want now.

        Args:
            busy: whether any worker has something to do.
        """
        demands = list(demands)
        unseen = self._unseen(now, busy, demands)
        self.target = target(demands, self._cores, self.minimum, self.maximum, unseen, self._worth)
        self._since = now if self._since is None else self._since
        self._past = [(at, count) for at, count in self._past if now - at <= self._idle]
        self._past.append((now, self.target))

    def _unseen(self, now: float, busy: bool, demands: Iterable[Demand]) -> float:
        """Return for how long workers have been busy with tasks of which no item has ended."""
        if not (busy and any(demand.unseen for demand in demands)):
            self._unseen_since = None
            return 0.0
        if self._unseen_since is None:
            self._unseen_since = now
        return max(0.0, now - self._unseen_since - UNSEEN_SECONDS)

    def floor(self, now: float) -> int:
        """Return to how many units the cluster may shrink."""
        if self.fixed:
            return self.target
        if self._since is None or now - self._since < self._idle:
            return self.maximum
        return max(count for _, count in self._past)
