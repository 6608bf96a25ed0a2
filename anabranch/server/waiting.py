"""Agents that wait for work: one look at the record for all of them, and a bell that rings in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi.concurrency import run_in_threadpool

from anabranch.core.errors import RecordsError

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK = 0.25  # seconds between looks, for what other processes write
GAP = 0.02  # seconds between looks at least, however often the bell rings
LONGEST = 5.0  # seconds without news after which an agent asks again all the same


class Waiting:
    """Wakes coroutines that wait for work when the service shows another face.

    Used by one event loop, except for `close`. Nobody looks while nobody waits.

    Args:
        look: returns a value that changes with all that may let an agent claim.
    """

    def __init__(self, look: Callable[[], Any]) -> None:
        self.closed = False
        self.face: Any = None  # of the service, at the last look
        self._look = look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._waiters: dict[asyncio.Future[None], Any] = {}

    async def for_news(self, face: Any, longest: float) -> None:
        """Wait until the service has another face than this one, `longest` or `LONGEST` seconds at most.

        Args:
            face: as it was before the look that found nothing, so that nothing is missed that came after it.
        """
        self._loop = asyncio.get_running_loop()
        waiter = self._loop.create_future()
        self._waiters[waiter] = face
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._watch())
        try:
            await asyncio.wait_for(waiter, min(longest, LONGEST))
        except TimeoutError:
            pass
        finally:
            del self._waiters[waiter]

    def ring(self) -> None:
        """Have a look taken soon: something was written through this process."""
        self._rung.set()

    def close(self) -> None:
        """End all waits now, since the server ends; from any thread."""
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    async def _watch(self) -> None:
        while self._waiters and not self.closed:
            self._rung.clear()
            try:
                self.face = await run_in_threadpool(self._look)
            except RecordsError:  # those that wait ask again by themselves, and hear it
                await asyncio.sleep(LOOK)
                continue
            self._wake()
            await asyncio.sleep(GAP)
            try:
                await asyncio.wait_for(self._rung.wait(), LOOK)
            except TimeoutError:
                pass

    def _wake(self) -> None:
        for waiter, face in self._waiters.items():
            if not waiter.done() and (face != self.face or self.closed):
                waiter.set_result(None)
