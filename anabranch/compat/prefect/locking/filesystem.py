"""Locks of all programs that share a folder: each is a file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from anabranch.compat.prefect.locking.protocol import LockManager

POLL_SECONDS = 0.05


class FileSystemLockManager(LockManager):
    """Gives locks by files in a folder.

    Args:
        lock_files_directory: the folder, made where there is none.
    """

    def __init__(self, lock_files_directory: str | Path) -> None:
        self.lock_files_directory = Path(lock_files_directory).expanduser().resolve()

    def _lock_path_for_key(self, key: str) -> Path:
        return self.lock_files_directory / f"{key}.lock"

    def _held(self, key: str) -> dict[str, Any] | None:
        """Return the content of a lock's file; None where it is free."""
        try:
            found: dict[str, Any] = json.loads(self._lock_path_for_key(key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:  # being written
            return {"holder": None, "until": None}
        if found["until"] is not None and time.time() >= found["until"]:
            self._lock_path_for_key(key).unlink(missing_ok=True)
            return None
        return found

    def _take(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        path = self._lock_path_for_key(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        until = None if hold_timeout is None else time.time() + hold_timeout
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(json.dumps({"holder": holder, "until": until}))
        return True

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        if self.is_lock_holder(key, holder):
            return True
        end = None if acquire_timeout is None else time.monotonic() + acquire_timeout
        while self._held(key) is not None or not self._take(key, holder, hold_timeout):
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def release_lock(self, key: str, holder: str) -> None:
        if not self.is_lock_holder(key, holder):
            raise ValueError(f"No lock held by {holder} for transaction with key {key}")
        self._lock_path_for_key(key).unlink(missing_ok=True)

    def is_locked(self, key: str) -> bool:
        return self._held(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        found = self._held(key)
        return found is not None and found["holder"] == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while self._held(key) is not None:
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(POLL_SECONDS)
        return True
