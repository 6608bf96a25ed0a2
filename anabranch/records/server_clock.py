"""The time of a database server, by which programs of several hosts judge one another's leases.

The server is asked now and then; in between, its time is reckoned by this machine's monotonic clock. So it does not
matter what the clocks of the hosts say, nor that somebody sets one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core import forks
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Clock

FRESH = 10.0  # seconds for which an answer of the server does
_STEP = 1.0  # seconds by which this machine's clocks part when it slept, or when somebody sets one: ask again
_QUICK = 0.05  # seconds within which an answer tells the time well; after a slower one the server is asked again
_TRIES = 3


class _Look(NamedTuple):
    """An answer of the server, and this machine's clocks halfway to it."""

    server: float
    monotonic: float
    wall: float
    took: float


class ServerClock:
    """A `Clock` with the time of a server.

    Args:
        ask: returns the server's time, in Unix seconds; raises RecordsError while it is away.
        machine: the clocks of this machine.
    """

    def __init__(self, ask: Callable[[], float], machine: Clock = SYSTEM) -> None:
        self.monotonic = machine.monotonic
        self.sleep = machine.sleep
        self._ask = ask
        self._machine = machine
        self._last: _Look | None = None
        self._lock = threading.Lock()
        forks.owned(self)

    def let_go(self) -> None:
        self._lock = threading.Lock()

    def time(self) -> float:
        """Return the server's time. Raises RecordsError where it was never told, and the server is away."""
        last = self._last
        if last is None:
            with self._lock:
                last = self._last = self._last or self._looked()
        elif self._stale(last) and self._lock.acquire(blocking=False):  # others go by the last answer meanwhile
            try:
                last = self._last = self._looked()
            except RecordsError:  # what is asked of the server itself says so
                last = self._last = self._gone_on(last)
            finally:
                self._lock.release()
        return self._reckoned(last)

    def _gone_on(self, last: _Look) -> _Look:
        """Return the last answer as it would be given now: the server is asked again in a while, not at each call."""
        return _Look(self._reckoned(last), self.monotonic(), self._machine.time(), last.took)

    def _reckoned(self, last: _Look) -> float:
        return last.server + self.monotonic() - last.monotonic

    def _stale(self, last: _Look) -> bool:
        passed = self.monotonic() - last.monotonic
        return passed > FRESH or abs(self._machine.time() - last.wall - passed) > _STEP

    def _looked(self) -> _Look:
        """Ask the server, again where the answer took long, and return the quickest answer."""
        found = []
        for _ in range(_TRIES):
            began, wall = self.monotonic(), self._machine.time()
            server = self._ask()
            took = self.monotonic() - began
            found.append(_Look(server, began + took / 2, wall + took / 2, took))
            if took <= _QUICK:
                break
        return min(found, key=lambda look: look.took)
