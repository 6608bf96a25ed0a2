"""Values that can be weakly referred to, and a watch over which of them are alive."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 20.0


class Value:
    """Something that can be weakly referred to."""

    def __init__(self, number: int = 0) -> None:
        self.number = number


class Watch:
    """Which of the values made so far are alive."""

    def __init__(self) -> None:
        self._refs: dict[int, weakref.ref[Value]] = {}

    def make(self, number: int = 0) -> Value:
        value = Value(number)
        self._refs[number] = weakref.ref(value)
        return value

    def alive(self) -> set[int]:
        return {n for n, ref in list(self._refs.items()) if ref() is not None}

    def made(self) -> int:
        return len(self._refs)


def until(check: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for something that no event tells of."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        pause.wait(0.002)


def dies(watch: Watch, left: set[int] | None = None) -> None:
    """The values die but for `left`; soon, because a worker thread may still be on its way out of the task."""
    wanted = left or set()
    end = time.monotonic() + 1.0
    pause = threading.Event()
    while watch.alive() != wanted and time.monotonic() < end:
        pause.wait(0.002)
    assert watch.alive() == wanted
