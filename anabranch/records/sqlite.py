"""Records in one SQLite file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.records.recorder import Recorder
from anabranch.records.sqlite_file import SqliteFile, prepare

if TYPE_CHECKING:
    import os

    from anabranch.core.contracts import Clock


class SqliteRecords(Recorder):
    """`Records` in the file at `path` (records/sqlite_file.py says what a loss of power means).

    Opening makes the file (mode 0600) or brings its schema up to date.

    Args:
        path: the file; folders above it are made.
        clock, commit_interval, retention_days: as of `Recorder`.

    Raises:
        RecordsError: the file is no database of this anabranch or an older one.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Clock = SYSTEM, commit_interval: float = 0.05,
        retention_days: float = 0.0,
    ) -> None:  # fmt: skip
        self.path = Path(path).expanduser().absolute()
        prepare(self.path)
        super().__init__(
            SqliteFile(self.path), clock=clock, commit_interval=commit_interval, retention_days=retention_days
        )
