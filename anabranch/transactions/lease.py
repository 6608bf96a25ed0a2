"""The lock on a key for as long as a block takes: taken for a minute at a time, and prolonged meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from anabranch.core.errors import StoreError

if TYPE_CHECKING:
    from anabranch.core.stores import ResultStore

SECONDS = 60.0
PROLONGED_AFTER = 20.0


class Lease:
    """A lock of the result store that this process holds.

    Attributes:
        owner: the name under which it is held.
    """

    def __init__(self, store: ResultStore, key: str, owner: str) -> None:
        self._store, self._key, self.owner = store, key, owner
        self._over = threading.Event()
        self.is_lost = False
        self._thread: threading.Thread | None = None

    def take(self) -> bool:
        """Try to take it; True when it is held."""
        if not self._store.lock(self._key, self.owner, SECONDS):
            return False
        self._thread = threading.Thread(target=self._prolong, name="anabranch-lease", daemon=True)
        self._thread.start()
        return True

    def free(self) -> None:
        self._over.set()  # also for a `take` under way on another thread: the lock lapses then
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        self._store.unlock(self._key, self.owner)

    def _prolong(self) -> None:
        while not self._over.wait(PROLONGED_AFTER):
            try:
                if not self._store.lock(self._key, self.owner, SECONDS):
                    self.is_lost = True
                    return
            except StoreError:
                continue  # two more tries before it lapses
