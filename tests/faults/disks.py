"""A disk without room, and the state of a record on it."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def fill(path: Path) -> None:
    """A file that leaves no byte free."""
    size = MIB
    with open(path, "wb", buffering=0) as file:
        while size:
            try:
                file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
    assert os.statvfs(path).f_bavail == 0


def sound(records: Path) -> bool:
    with closing(sqlite3.connect(records)) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
