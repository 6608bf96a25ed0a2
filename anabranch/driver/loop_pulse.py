"""A pulse for event loops of the main thread, as long as coroutines wait on them.

An event loop with nothing to do does not look up when a signal comes: a stop (Ctrl-C, a notebook's stop button) that
only cancels a coroutine would be heard with the next event, which is the end of the work. One timer a loop ends that.

A pulse stands before the handler of SIGINT, to know that a stop came. Flow runs begin and end while it beats: they put
their handlers below it (`put_below`). Above it they would lose it, and at their end they would not find their own.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

SECONDS = 0.1
_beating: dict[asyncio.AbstractEventLoop, Pulse] = {}


class Pulse:
    """The pulse of one loop.

    Attributes:
        stopped: a SIGINT came while it beat.
        before: the handler of SIGINT that is called then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stopped = False
        self._loop = loop
        self._users = 0
        self._timer: asyncio.TimerHandle | None = None
        self.before: Any = None

    def begin(self) -> None:
        """Beat for one more coroutine."""
        self._users += 1
        if self._users == 1:
            self.before = signal.getsignal(signal.SIGINT)
            if callable(self.before):
                signal.signal(signal.SIGINT, self._on_interrupt)
            self._beat()

    def end(self) -> None:
        """Beat for one coroutine less."""
        self._users -= 1
        if self._users:
            return
        if self._timer is not None:
            self._timer.cancel()
        if signal.getsignal(signal.SIGINT) == self._on_interrupt:
            signal.signal(signal.SIGINT, self.before)
        _beating.pop(self._loop, None)

    def _beat(self) -> None:
        self._timer = self._loop.call_later(SECONDS, self._beat)

    def _on_interrupt(self, number: int, frame: Any) -> None:
        self.stopped = True
        self.before(number, frame)


@contextmanager
def pulse(loop: asyncio.AbstractEventLoop) -> Iterator[Pulse | None]:
    """Keep the running loop looking up; None in other threads than the main one, where no signal is handled."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    found = _beating.get(loop) or _beating.setdefault(loop, Pulse(loop))
    found.begin()
    try:
        yield found
    finally:
        found.end()


def below(number: int) -> Any:
    """Return the handler of a signal; where pulses stand before it, the one below them."""
    return _lowest(number)[1]


def put_below(number: int, handler: Any) -> None:
    """Set the handler of a signal, below the pulses that stand before the present one; from the main thread."""
    lowest, _ = _lowest(number)
    if lowest is None or not callable(handler):  # a pulse stands before handlers that it can call
        signal.signal(number, handler)
    else:
        lowest.before = handler


def _lowest(number: int) -> tuple[Pulse | None, Any]:
    lowest, handler = None, signal.getsignal(number)
    while isinstance(pulse := getattr(handler, "__self__", None), Pulse):
        lowest, handler = pulse, pulse.before
    return lowest, handler
