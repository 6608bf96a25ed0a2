"""Which limits the record has: those that hold, and those that are switched off."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.limits import Limit, LimitStore
    from anabranch.engine.limits import Look

OLD_SECONDS = 10.0  # the list of limits is old then


class LimitedWork(Protocol):
    """What sends maps under limits: the dispatcher. Callable from any thread."""

    def apply_limits(self, slots: Sequence[str], rates: Sequence[str]) -> None: ...
    def look_at_limits(self) -> Look: ...
    def open_limits(self, rooms: dict[str, int], starts: dict[str, int]) -> None: ...


class KnownLimits:
    """What this program knows of the limits in the record.

    Args:
        maps: are told which limits hold for them.

    Attributes:
        holding: by name, the limits that hold.
        changed: whether they are others than when this was last set to False.
    """

    def __init__(self, store: LimitStore, maps: LimitedWork) -> None:
        self.holding: dict[str, Limit] = {}
        self.changed = False
        self._store = store
        self._maps = maps
        self._off: set[str] = set()
        self._refreshed = 0.0
        self._lock = threading.Lock()

    def knows(self, name: str) -> bool:
        """Whether the record has a limit of this name, even one that does not hold just now."""
        return name in self.holding or name in self._off

    def old(self) -> bool:
        """Whether the last look was a while ago."""
        return time.monotonic() - self._refreshed > OLD_SECONDS

    def refresh(self) -> bool:
        """See which limits there are, and say whether they have changed. Raises RecordsError."""
        self._refreshed = time.monotonic()
        limits = self._store.limits()
        found = {limit.name: limit for limit in limits if limit.active}
        self._off = {limit.name for limit in limits if not limit.active}
        with self._lock:
            if found == self.holding:
                return False
            self.holding = found
            self.changed = True
            slots = [limit.name for limit in found.values() if limit.slots is not None]
            rates = [limit.name for limit in found.values() if limit.rate is not None]
            self._maps.apply_limits(slots, rates)
        return True
