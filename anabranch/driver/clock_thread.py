"""The thread that steps the pump at due times, and for finalizers, which must not step it themselves.

    _drain --due--> wake_at --.
    finalizers --> nudge -----+--> alarm --> turn: step the pump, sleep until the next due time
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock

IDLE_WAKE = 60.0
BUSY_WAKE = 0.05  # seconds between turns while other threads step as well


class Stepped(Protocol):
    """The part of the pump that the thread uses."""

    closed: bool
    drains: int

    def pass_time(self) -> None: ...


class ClockThread:
    """One thread beside a pump, which it does not keep alive.

    Attributes:
        awake: the thread takes a turn soon, so it need not be nudged.
        due: the next due time, by the clock; None: there is none.
    """

    def __init__(self, pump: Stepped, clock: Clock) -> None:
        self.awake = False
        self.due: float | None = None
        self._pump = weakref.ref(pump)
        self._clock = clock
        self._alarm = threading.Lock()
        self._alarm.acquire()
        self._thread: threading.Thread | None = None
        self._seen = 0

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="anabranch-clock", daemon=True)
            self._thread.start()

    def wake_at(self, due: float) -> None:
        """Set the next due time."""
        self.due = due
        self.start()
        if threading.current_thread() is not self._thread:  # the clock thread reads `due` after each turn
            self.wake()

    def nudge(self) -> None:
        """Wake the thread for an event that no thread has stepped for; callable from finalizers."""
        self.awake = True
        self.wake()

    def wake(self) -> None:
        """Take the next turn now."""
        with contextlib.suppress(RuntimeError):  # it is awake already
            self._alarm.release()

    def _main(self) -> None:
        sleep = 0.0
        while True:
            self._alarm.acquire(timeout=sleep if sleep > 0 else 0.0001)
            pump = self._pump()
            if pump is None or pump.closed:
                return
            sleep = self._turn(pump)
            del pump

    def _turn(self, pump: Stepped) -> float:
        """Step; returns how long to sleep.

        While other threads step as well, this one takes its next turn soon without being woken: a finalizer that had to
        wake it would hand the interpreter over at every dead future.
        """
        self.awake = False
        self.due = None
        before, self._seen = self._seen, pump.drains
        pump.pass_time()
        due, longest = self.due, IDLE_WAKE
        if self._seen > before + 1:
            self.awake = True
            longest = BUSY_WAKE
        return longest if due is None else min(longest, max(0.0, due - self._clock.monotonic()))
