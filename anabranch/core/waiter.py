"""Waits in a thread during which signals are handled.

A signal wakes a thread that sleeps on a lock. A signal between the interpreter's last check for signals and that
sleep does not wake it: its handler would run when the wait ends, which may be never. It does happen, with threads
that contend for the interpreter and a Ctrl-C just as the flow begins to wait. So the main thread waits in slices.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

LOOK_UP_SECONDS = 0.5  # one slice of the main thread's wait

# Threads that drive an event loop for others, each with the context that hands the loop over during a wait.
driving: dict[int, Callable[[], AbstractContextManager[None]]] = {}


def aside() -> AbstractContextManager[None]:
    """Hand the event loop that this thread drives for others, if any, to another thread for the block."""
    lent = driving.get(threading.get_ident())
    return contextlib.nullcontext() if lent is None else lent()


def heeding_signals(wait: Callable[[float | None], bool], timeout: float | None) -> bool:
    """Call `wait(seconds)` until it is true or the time is over; in the main thread in slices, so signals are handled.

    Args:
        wait: waits so many seconds, None for ever; returns true once the awaited thing has come.
        timeout: seconds in all; None waits for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        return wait(timeout)
    left = math.inf if timeout is None else timeout
    deadline = time.monotonic() + left
    while left > LOOK_UP_SECONDS:
        if wait(LOOK_UP_SECONDS):
            return True
        left = deadline - time.monotonic()
    return wait(max(0.0, left))


def patiently(changed: threading.Condition, over: Callable[[], bool]) -> None:
    """Wait, with the condition held, until `over` is true; asked again now and then, for what tells nobody."""
    while not over():
        changed.wait(LOOK_UP_SECONDS)


class Waiter:
    """An event to wait on once, cheaper than `threading.Event`: a raw lock that `set` releases."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        # Several ends may come (wait for any): the first counts.
        with contextlib.suppress(RuntimeError):
            self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        if timeout == 0:
            return self._lock.acquire(blocking=False)
        if not driving or threading.get_ident() not in driving:
            return heeding_signals(self._acquire, timeout)
        if self._lock.acquire(blocking=False):
            return True
        with aside():
            return self._acquire(timeout)

    def _acquire(self, seconds: float | None) -> bool:
        return self._lock.acquire(timeout=-1 if seconds is None else max(0.0, min(seconds, threading.TIMEOUT_MAX)))
