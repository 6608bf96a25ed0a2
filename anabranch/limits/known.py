"""The limits in the record: active and inactive ones."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.limits import Limit, LimitStore
    from anabranch.engine.limits import Look

OLD_SECONDS = 10.0  # after so long the list of limits is old


class LimitedWork(Protocol):
    """The contract of the dispatcher for maps under limits. Callable from any thread."""

    def apply_limits(self, slots: Sequence[str], rates: Sequence[str]) -> None: ...
    def look_at_limits(self) -> Look: ...
    def open_limits(self, rooms: dict[str, int], starts: dict[str, int]) -> None: ...


class KnownLimits:
    """This program's view of the limits in the record.

    Args:
        maps: takes the limits that hold.

    Attributes:
        holding: by name, the limits that hold.
        changed: whether they have changed since this was last set to False.
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
        """Return whether the record has a limit of this name, even an inactive one."""
        return name in self.holding or name in self._off

    def old(self) -> bool:
        """Return whether the list was read long ago."""
        return time.monotonic() - self._refreshed > OLD_SECONDS

    def refresh(self) -> bool:
        """Read the limits, and note whether they have changed. Raises RecordsError."""
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
