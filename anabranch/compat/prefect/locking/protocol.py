"""What a lock manager does."""

from __future__ import annotations

import abc
import asyncio
from typing import Any


class LockManager(abc.ABC):
    """Gives locks by key to holders; a holder that has one gets it again."""

    @abc.abstractmethod
    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Take a lock; False where it was not free in time. It is free again after `hold_timeout` seconds."""

    @abc.abstractmethod
    def release_lock(self, key: str, holder: str) -> None:
        """Give a lock back; raises ValueError for one that the holder has not."""

    @abc.abstractmethod
    def is_locked(self, key: str) -> bool:
        """Return whether a lock is taken."""

    @abc.abstractmethod
    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Return whether this holder has the lock."""

    @abc.abstractmethod
    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until a lock is free; False where it is not in time."""

    async def aacquire_lock(self, *args: Any, **kwargs: Any) -> bool:
        """Take a lock as `acquire_lock` does."""
        return await asyncio.to_thread(self.acquire_lock, *args, **kwargs)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait as `wait_for_lock` does."""
        return await asyncio.to_thread(self.wait_for_lock, key, timeout)
