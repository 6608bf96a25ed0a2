"""A page of memory that one worker process and its driver share: what runs there now, and since when."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from typing import NamedTuple

# Count, chunk, stage, position, attempt, started, limit, count again. Native words, so that none is ever half written.
_LAYOUT = struct.Struct("@Qqqqqdd")
_COUNT = struct.Struct("@Q")
PAGE_BYTES = _LAYOUT.size + _COUNT.size
_pack, _pack_count, _monotonic = _LAYOUT.pack_into, _COUNT.pack_into, time.monotonic


class Running(NamedTuple):
    """What a worker noted last; position -1: no item, but this chunk was begun."""

    chunk: int
    stage: int
    position: int
    attempt: int
    started: float  # CLOCK_MONOTONIC, the same for all processes of a machine
    limit: float  # seconds it may take, 0: any

    def late(self, now: float) -> bool:
        return self.limit > 0 and self.position >= 0 and now - self.started > self.limit


class StatusPage:
    """The worker writes, the driver reads, at any time and without a lock; also after the worker's death."""

    def __init__(self, fd: int) -> None:
        """Map the page behind `fd`, which stays the caller's to close."""
        self._map = mmap.mmap(fd, PAGE_BYTES)
        self._count = 0

    def note(self, chunk: int, stage: int, position: int, attempt: int, limit: float) -> None:
        """Say what runs from now on."""
        self._count = count = self._count + 1
        _pack(self._map, 0, count, chunk, stage, position, attempt, _monotonic(), limit)
        _pack_count(self._map, _LAYOUT.size, count)

    def read(self) -> Running | None:
        """What was noted last; None before the first note.

        A worker that died in the middle of a note is blamed for whichever item stands there.
        """
        fields: tuple[int, int, int, int, int, float, float] = _LAYOUT.unpack_from(self._map, 0)
        for _ in range(100):
            (last,) = _COUNT.unpack_from(self._map, _LAYOUT.size)
            fields = _LAYOUT.unpack_from(self._map, 0)
            if _COUNT.unpack_from(self._map, 0)[0] == last:
                break
        return Running(*fields[1:]) if fields[0] else None


def new_page() -> int:
    """A file descriptor of an empty page that lies in no folder, to be inherited by a worker."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("anabranch-page")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, PAGE_BYTES)
    return fd
