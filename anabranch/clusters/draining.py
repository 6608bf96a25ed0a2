"""Workers of a Dask scheduler are let go: nothing begins on them, what runs ends, their values go to others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOK_SECONDS = 0.2  # between looks at what runs
MOVE_SECONDS = 1.0  # between attempts to move values


async def drain(scheduler: Any, workers: Sequence[Any], seconds: float, *, must: bool) -> bool:
    """Let what runs on these workers end, and move their values; returns whether they may be removed.

    Args:
        seconds: for all of it.
        must: they go in any case. Otherwise they stay where their values have no other place.

    Raises:
        TimeoutError: something still runs, or no place was found, after so many seconds.
    """
    addresses = [worker.address for worker in workers]
    async with asyncio.timeout(seconds):
        while not await _moved(scheduler, addresses):
            if not must:
                return False
            await asyncio.sleep(MOVE_SECONDS)
        told = time.time()
        while _runs(scheduler, workers, told):  # noqa: ASYNC110 - what is looked at are the workers' reports
            await asyncio.sleep(LOOK_SECONDS)
        await _moved(scheduler, addresses)  # what has ended meanwhile
    return True


async def remove(scheduler: Any, workers: Sequence[Any], why: str) -> None:
    """Remove workers: what waits there goes to others, and is nobody's fault."""
    for worker in workers:
        with contextlib.suppress(Exception):
            await scheduler.remove_worker(worker.address, stimulus_id=why, expected=True, close=True)


async def _moved(scheduler: Any, addresses: Sequence[str]) -> bool:
    """Keep new work from workers, and bring their values to others; returns whether these had room for them."""
    there = [address for address in addresses if address in scheduler.workers]
    done = await scheduler.retire_workers(workers=there, close_workers=False, remove=False)
    return not there or set(there) <= done.keys()


def _runs(scheduler: Any, workers: Sequence[Any], since: float) -> bool:
    """Return whether one of them executes an item, by what it has told since then, or has told nothing."""
    there = [worker for worker in workers if worker.address in scheduler.workers]
    return any(worker.executing or worker.last_seen <= since for worker in there)
