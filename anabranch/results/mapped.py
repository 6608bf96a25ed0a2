"""Loads a file into writable memory, without a copy where that is safe.

A private mapping costs no memory of the process until an array in it is changed, and survives the replacement or
removal of the file. That holds on this machine's own file systems only. On a network file system the file may vanish
under the mapping, which kills the process, so there it is read.
"""

from __future__ import annotations

import functools
import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.results.serializers import Bytes

MAPPED = 1 << 20  # bytes; a smaller file is read

_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "tmpfs", "ramfs", "overlay"})


def load(path: str) -> Bytes:
    """Return the content of a file in writable memory of the caller's own; raises OSError."""
    with open(path, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if status.st_size >= MAPPED and is_local(status.st_dev):
            return mmap.mmap(file.fileno(), status.st_size, access=mmap.ACCESS_COPY)
        data = bytearray(status.st_size)
        view, filled = memoryview(data), 0
        while filled < len(data) and (count := file.readinto(view[filled:])):
            filled += count
        view.release()
        del data[filled:]
        return data


@functools.cache
def is_local(device: int) -> bool:
    """Return whether the file system is known to be this machine's own; False where that is not known."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            mount, _, system = line.partition(" - ")
            if mount.split()[2] == number:
                return system.split()[0] in _LOCAL
    return False
