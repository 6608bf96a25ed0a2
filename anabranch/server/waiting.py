"""Agents that wait for work: one look at the record for all of them, and a bell that rings in this process.

     look --> the faces of all pools --> those that wait in a pool with another face than they have seen
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RecordsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOOK = 0.25  # seconds between looks, for what other processes write
GAP = 0.02  # seconds between looks at least, however often the bell rings
LONGEST = 15.0  # seconds without news after which an agent asks again all the same


class Waiting:
    """Wakes coroutines that wait for work when their pool shows another face.

    Used by one event loop, except for `close`. Nobody looks while nobody waits. A thread of its own looks, so that a
    look without news wakes the loop not once.

    Args:
        look: returns for each pool a value that changes with all that may let its agents claim.

    Attributes:
        faces: by pool, at the last look.
    """

    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self.closed = False
        self.faces: Mapping[str, Any] = {}
        self._look = look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung = threading.Event()
        self._lock = threading.Lock()  # of the two below
        self._looking: threading.Thread | None = None
        self._waiters: dict[asyncio.Future[None], tuple[str, Any]] = {}  # a pool, and its face

    async def for_news(self, pool: str, faces: Mapping[str, Any], longest: float) -> None:
        """Wait until a pool has another face than this one, `longest` or `LONGEST` seconds at most.

        Args:
            faces: as they were before the look that found nothing, so that nothing is missed that came after it.
        """
        self._loop = asyncio.get_running_loop()
        waiter = self._loop.create_future()
        with self._lock:
            self._waiters[waiter] = (pool, faces.get(pool))
            if self._looking is None or not self._looking.is_alive():  # an error may have ended it
                self._looking = threading.Thread(target=self._watch, name="anabranch-waiting", daemon=True)
                self._looking.start()
        try:
            await asyncio.wait_for(waiter, min(longest, LONGEST))
        except TimeoutError:
            pass
        finally:
            with self._lock:
                del self._waiters[waiter]

    def ring(self) -> None:
        """Have a look taken soon: something was written through this process."""
        self._rung.set()

    def close(self) -> None:
        """End all waits now, since the server ends; from any thread, and from a signal's handler.

        It takes no lock: the handler may have come in the middle of `ring`.
        """
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def _watch(self) -> None:
        while self._wanted():
            self._rung.clear()
            with suppress(RecordsError):  # those that wait ask again by themselves, and hear it
                self.faces = self._look()
                self._tell()
            if self._rung.wait(LOOK):
                time.sleep(GAP)

    def _wanted(self) -> bool:
        """Return whether anyone waits; with a no this thread ends, and the next that waits starts another one."""
        with self._lock:
            if self._waiters and not self.closed:
                return True
            self._looking = None
            return False

    def _tell(self) -> None:
        """Wake the loop if there is news for one that waits."""
        loop, faces = self._loop, self.faces
        with self._lock:
            news = any(face != faces.get(pool) for pool, face in self._waiters.values())
        if news and loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._wake)

    def _end(self) -> None:
        self._rung.set()
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            for waiter, (pool, face) in self._waiters.items():
                if not waiter.done() and (face != self.faces.get(pool) or self.closed):
                    waiter.set_result(None)
