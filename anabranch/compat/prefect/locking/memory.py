"""Locks of this process."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

from anabranch.compat.prefect.locking.protocol import LockManager


class MemoryLockManager(LockManager):
    """Gives locks that this process alone knows; there is one manager."""

    _instance: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance._locks = {}
            cls._instance._changed = threading.Condition()
        return cls._instance  # type: ignore[no-any-return]

    def __init__(self) -> None:
        self._locks: dict[str, tuple[str, float | None]]
        self._changed: threading.Condition

    def _holder(self, key: str) -> str | None:
        """Return the holder of a lock; one that was held for too long has none."""
        holder, until = self._locks.get(key, (None, None))
        if until is not None and time.monotonic() >= until:
            del self._locks[key]
            return None
        return holder

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        with self._changed:
            if self._holder(key) == holder:
                return True
            if not self._free(key, acquire_timeout):
                return False
            until = None if hold_timeout is None else time.monotonic() + hold_timeout
            self._locks[key] = (holder, until)
            return True

    def _free(self, key: str, timeout: float | None) -> bool:
        """Wait, with the condition held, until a lock is free."""
        end = None if timeout is None else time.monotonic() + timeout
        while self._holder(key) is not None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            until = self._locks[key][1]
            expires = None if until is None else max(0.0, until - time.monotonic())
            self._changed.wait(min((one for one in (left, expires) if one is not None), default=None))
        return True

    def release_lock(self, key: str, holder: str) -> None:
        with self._changed:
            if self._holder(key) != holder:
                raise ValueError(f"No lock held by {holder} for transaction with key {key}")
            del self._locks[key]
            self._changed.notify_all()

    def is_locked(self, key: str) -> bool:
        with self._changed:
            return self._holder(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        with self._changed:
            return self._holder(key) == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        with self._changed:
            return self._free(key, timeout)

    def __reduce__(self) -> Any:
        return (MemoryLockManager, ())
