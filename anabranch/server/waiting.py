"""Agents that wait for work: one look at the record for all of them, and a bell that rings in this process."""

from __future__ import annotations

import asyncio


class Waiting:
    """Wakes coroutines that wait for work.

    They wake up when something was written through this process that may let them claim, and otherwise every `LOOK`
    seconds, for what other processes write. Used by the event loop alone, except for `ring` and `close`.
    """

    LOOK = 0.25  # seconds

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    async def for_news(self, longest: float) -> None:
        """Wait until there may be news, `LOOK` or `longest` seconds at most."""
        self._loop = asyncio.get_running_loop()
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter, min(longest, self.LOOK))
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    def ring(self) -> None:
        """Wake all; from the event loop."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """End all waits now, since the server ends; from any thread."""
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.ring)
