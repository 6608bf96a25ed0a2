"""Ctrl-C, and the moments at which it must not be heard.

Between two steps of its own the main thread may be interrupted anywhere. In the midst of an event of the dispatcher
it must not be: half of it would stay, and what comes after would wait for ever. Flows have handlers of their own
(`runs.signals`). Outside of them, from the first run on, `guard` stands in the place of Python's own handler: it raises
KeyboardInterrupt as that one does, a moment later where that is needed.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from typing import Any

from anabranch.core import forks
from anabranch.driver import pump

_main = threading.main_thread()


def guard() -> None:
    """Stand in the place of Python's handler of Ctrl-C, from its main thread; another handler stays."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and threading.current_thread() is _main:
        signal.signal(signal.SIGINT, _on_interrupt)


def stands(handler: Any) -> bool:
    """Whether this is the guard."""
    return handler is _on_interrupt


def later(number: int, frame: Any) -> bool:
    """Whether the main thread must not be interrupted at `frame`; the signal comes again then."""
    if not _must_go_on(frame):
        return False
    _thread.start_new_thread(_again, (number,))
    return True


def _on_interrupt(number: int, frame: Any) -> None:
    if not later(number, frame):
        signal.default_int_handler(number, frame)


def _must_go_on(frame: Any) -> bool:
    """Whether the main thread takes events in, or is in a finalizer: no exception comes out of that."""
    return pump.taking_in(frame) or _in_finalizer(frame)


def _in_finalizer(frame: Any) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _again(number: int) -> None:
    """Send it once more, to the main thread, which it wakes should that wait by then."""
    time.sleep(0.002)
    if _main.ident is not None:
        signal.pthread_kill(_main.ident, number)


def _leave() -> None:
    """In a forked copy: no run is there that could be harmed."""
    global _main
    _main = threading.main_thread()
    if stands(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)


forks.in_copies(_leave)
