"""Waiting in a thread, so that signals are heard meanwhile.

A signal wakes a thread that sleeps on a lock. One that comes between the interpreter's last look for
signals and that sleep does not: its handler would run when the wait ends, which may be never. With
threads that contend for the interpreter, and a Ctrl-C just as the flow begins to wait, it does happen.
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

LOOK_UP_SECONDS = 0.5  # between two looks of the main thread for signals, while it waits

# Threads that drive an event loop for others, and what lets another one drive it while they stand still.
driving: dict[int, Callable[[], AbstractContextManager[None]]] = {}


def aside() -> AbstractContextManager[None]:
    """Around a wait: where this thread drives an event loop for others, another one does so meanwhile."""
    lent = driving.get(threading.get_ident())
    return contextlib.nullcontext() if lent is None else lent()


def heeding_signals(wait: Callable[[float | None], bool], timeout: float | None) -> bool:
    """`wait(seconds)` until it is true or the time is over, in slices where signals are handled: in the main thread.

    Args:
        wait: waits as long as told, None for ever; true once what is waited for has come.
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


class Waiter:
    """Something to wait on once, cheaper than an Event: a raw lock that the end releases."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        # Several ends may come (wait for any): the first one counts.
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
