"""What the workers of an own Dask cluster run now, in files of this machine: once a worker is dead the driver looks.

    worker: a chunk's thread --item--> page ----> folder/<port>-<pid>-<n> <---- read <-- driver: "the worker died"

A worker takes a page for each chunk that it runs, and uses it again for later ones. The folder is the
cluster's, and goes with it. Workers of borrowed clusters may live anywhere, and have none.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from glob import glob
from typing import TYPE_CHECKING

from anabranch.runners.placing.status_page import PAGE_BYTES, StatusPage

if TYPE_CHECKING:
    from anabranch.runners.placing.status_page import Running

_numbers = itertools.count()


def new_page(folder: str, address: str) -> StatusPage | None:
    """A page that `running_at` finds; None where its file cannot be made."""
    path = os.path.join(folder, f"{_port(address)}-{os.getpid()}-{next(_numbers)}")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, PAGE_BYTES)
            return StatusPage(fd)
        finally:
            os.close(fd)
    except OSError:
        return None


def running_at(folder: str, address: str) -> dict[int, Running]:
    """Return the last notes of the threads of a dead worker, by chunk, and remove their files."""
    found: dict[int, Running] = {}
    for path in glob(os.path.join(folder, f"{_port(address)}-*")) if folder else ():
        with contextlib.suppress(OSError, ValueError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                running = StatusPage(fd).read()
            finally:
                os.close(fd)
                os.unlink(path)
            if running is not None:
                found[running.chunk] = running
    return found


def _port(address: str) -> str:
    return address.rpartition(":")[2]
