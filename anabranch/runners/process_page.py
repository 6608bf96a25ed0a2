"""A page that a worker process and its driver share: what runs there now, for blame and time limits."""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_LAYOUT = struct.Struct("<Qqiiidd")  # count, chunk, stage, position, attempt, started, limit
SIZE = 4096


class Running(NamedTuple):
    """One item under way; `started` is CLOCK_MONOTONIC, which processes of one machine share."""

    chunk: int
    stage: int
    position: int
    attempt: int
    started: float
    limit: float  # seconds, 0: none


class Page:
    """One worker's page; the worker writes, the driver reads."""

    def __init__(self, path: Path, *, create: bool) -> None:
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if create:
                os.ftruncate(fd, SIZE)
            self._map = mmap.mmap(fd, SIZE)
        finally:
            os.close(fd)
        self._count = 0

    def write(self, chunk: int, stage: int, position: int, attempt: int, started: float, limit: float) -> None:
        # Odd while being written: a reader that sees an odd or a changed count looks again.
        self._count += 2
        _LAYOUT.pack_into(self._map, 0, self._count - 1, chunk, stage, position, attempt, started, limit)
        _LAYOUT.pack_into(self._map, 0, self._count, chunk, stage, position, attempt, started, limit)

    def read(self) -> Running | None:
        """What runs now, None when nothing does."""
        for _ in range(100):
            before = _LAYOUT.unpack_from(self._map, 0)
            after = _LAYOUT.unpack_from(self._map, 0)
            if before == after and before[0] % 2 == 0:
                return Running(*before[1:]) if before[0] and before[3] >= 0 else None
        # The worker died while writing: what it was about to note is there in full or in part.
        return Running(*before[1:]) if before[3] >= 0 else None

    def close(self) -> None:
        self._map.close()
