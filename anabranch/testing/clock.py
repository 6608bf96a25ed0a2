"""A clock for tests."""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ManualClock:
    """A `Clock` that moves only by `advance` and `sleep`; thread-safe.

    Args:
        start: Unix seconds at the beginning; the monotonic time begins at 0.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._now = 0.0
        self._lock = threading.RLock()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    def time(self) -> float:
        return self._start + self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        """Return at once, `seconds` later."""
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Move on, with the calls of `call_at` on the way, in order, each at its own time."""
        if seconds < 0:
            raise ValueError(f"time does not go back ({seconds} s)")
        with self._lock:
            end = self._now + seconds
            while self._alarms and self._alarms[0][0] <= end:
                when, _, call = heapq.heappop(self._alarms)
                self._now = max(self._now, when)
                call()
            self._now = max(self._now, end)

    def advance_to_next(self) -> bool:
        """Move on to the next deadline; False when there is none."""
        with self._lock:
            when = self.next_deadline()
            if when is None:
                return False
            self.advance(max(0.0, when - self._now))
            return True

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Call `call` when the monotonic time reaches `when`, from the thread that advances."""
        with self._lock:
            heapq.heappush(self._alarms, (when, next(self._serial), call))

    def next_deadline(self) -> float | None:
        """Return the monotonic time of the next waiting call."""
        with self._lock:
            return self._alarms[0][0] if self._alarms else None
