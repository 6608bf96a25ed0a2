"""What the runner tells an elastic cluster now and then: how much there is to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from anabranch.core.clusters import DEMAND_SECONDS, Demand

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.runners.dask.link import Link


class DemandWords:
    """The demand of one runner, told under its name.

    Attributes:
        look: asks the dispatcher.
        wanted: the cluster takes it; any other is told nothing.
    """

    def __init__(self, who: str) -> None:
        self.look: Callable[[], Demand] = Demand
        self.wanted = False
        self._who = who
        self._next = -math.inf

    def tell(self, link: Link, now: float) -> None:
        """Tell it, if the cluster wants to know and has not just been told."""
        if self.wanted and now >= self._next:
            self._next = now + DEMAND_SECONDS
            link.tell_demand(self._who, self.look())
