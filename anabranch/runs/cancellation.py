"""The cancel of one flow run.

    under way --ask--> cancelled    its sleeps and its waiting for slots end, its function is told at its next step
        |
        '--given_up(last=True)--> its end is decided: a cancel comes too late
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING

from anabranch.core.errors import CancelledRun
from anabranch.core.waiting import wake_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.limits.tickets import SlotGuard


class Cancellation:
    """Whether a flow run was cancelled from elsewhere; any thread may ask for the cancel.

    Args:
        name: the run's name, for the error.
        asked: the cancel was asked for, and accepted.
    """

    def __init__(self, name: str) -> None:
        self.asked = False
        self._name = name
        self._decided = False
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._wake: Callable[[], None] | None = None  # wakes a coroutine that sleeps
        self._slots: SlotGuard | None = None

    def ask(self) -> bool:
        """Accept a cancel; False: the end of the run was decided before. `tell` has to follow."""
        with self._lock:
            if self._decided:
                return False
            self.asked = True
        return True

    def tell(self) -> None:
        """End the run's sleep, and its waiting for slots."""
        self._told.set()
        if self._wake is not None:
            self._wake()
        if self._slots is not None:
            self._slots.abandon()

    def given_up(self, last: bool) -> CancelledRun | None:
        """Return the error of a cancelled run; after a call with `last` it cannot be cancelled any more."""
        with self._lock:
            self._decided = self._decided or last
            return self.error() if self.asked else None

    def error(self) -> CancelledRun:
        return CancelledRun(f"flow run {self._name!r} was cancelled")

    def sleep(self, seconds: float) -> None:
        """Block for so long, or until the run is cancelled."""
        self._told.wait(seconds)

    async def pause(self, seconds: float) -> None:
        """Sleep on the running loop for so long, or until the run is cancelled."""
        import asyncio

        loop = asyncio.get_running_loop()
        told = loop.create_future()
        self._wake = functools.partial(wake_loop, loop, told)
        if not self._told.is_set():
            await asyncio.wait({told}, timeout=seconds)

    @contextlib.contextmanager
    def abandons(self, slots: SlotGuard) -> Iterator[None]:
        """Let a cancel end the waiting for these slots during the block."""
        self._slots = slots
        if self.asked:  # before they were there
            slots.abandon()
        try:
            yield
        finally:
            self._slots = None
