"""The service in memory, for tests: the same statements, in a database that is gone with the object."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from anabranch.core import forks
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError
from anabranch.records.service.direct import DirectService
from anabranch.records.sqlite_file import SqliteFile
from anabranch.records.statements import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.contracts import Clock
    from anabranch.core.ids import Ids


def memory_service(*, clock: Clock = SYSTEM, ids: Ids | None = None) -> DirectService:
    """Return a service of its own in memory; `Recorder(service.database)` has the runs of its orders."""
    return DirectService(MemoryFile(), clock=clock, ids=ids)


class MemoryFile(SqliteFile):
    """A `Database` in memory, for all threads of this process, as long as the object lives."""

    def __init__(self) -> None:
        super().__init__(Path("memory"))
        self._address = f"file:/anabranch-{uuid4()}?vfs=memdb"
        self._kept = self.connect()
        for step in migrations():
            for statement in step.statements:
                self._kept.execute(statement)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._address, timeout=30.0, isolation_level=None, uri=True, check_same_thread=False)

    def patient(self) -> sqlite3.Connection:
        return self.connect()

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with forks.steady(), closing(self.connect()) as connection:
                yield connection
        except sqlite3.Error as error:
            raise RecordsError(f"the records in memory cannot be used: {error}") from error

    def size(self) -> int:
        with self.opened() as db:
            pages: int = db.execute("PRAGMA page_count").fetchone()[0]
            return pages * int(db.execute("PRAGMA page_size").fetchone()[0])

    def compact(self) -> None:
        """Do nothing: there is no file system to give space back to."""
