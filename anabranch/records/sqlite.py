"""Records in one SQLite file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.core.states import CRASHED
from anabranch.records.database import opened, prepare, transaction
from anabranch.records.drivers import Driver
from anabranch.records.reader import Reader
from anabranch.records.statements import SQL
from anabranch.records.views import OPEN, state_name
from anabranch.records.writer import Writer

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Iterable
    from typing import Self

    from anabranch.core.contracts import Clock
    from anabranch.core.runs import Row

_OPEN = json.dumps(OPEN)


class SqliteRecords(Reader):
    """`Records` in the file at `path`, which several processes may read and write at once.

    Opening makes the file (mode 0600) or brings its schema up to date; the writing thread starts with
    the first row. After the death of the process, kill -9 included, all but the rows of the last
    `commit_interval` are there (records/database.py says what a loss of power means).

    Args:
        path: the file; folders above it are made.
        clock: for `mark_dead` and `request_cancel`.
        commit_interval: seconds from the first row after a commit to the next commit.

    Raises:
        RecordsError: the file is no database of this anabranch or an older one.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock = SYSTEM, commit_interval: float = 0.05) -> None:
        super().__init__(Path(path).expanduser().absolute())
        prepare(self.path)
        self._clock = clock
        self._writer = Writer(self.path, commit_interval)

    @property
    def writer_seconds(self) -> float:
        """CPU time that the writing thread has used up to its last commit."""
        return self._writer.seconds

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows, which must not change any more, to be committed in order within `commit_interval`.

        It waits for nothing; rows that cannot be stored are logged and left out.

        Raises:
            RecordsError: in a forked child, or after `close`.
        """
        self._writer.append(rows)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all rows appended before are committed; False when that took too long."""
        return self._writer.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Commit what was appended, make small what can be, and end the writing thread.

        After `timeout` seconds the thread is left to try on, for as long as the process lives.
        """
        self._writer.close(timeout)

    def request_cancel(self, flow_run: str) -> bool:
        """Note that a run is to be cancelled; False when there is none of this id or it has ended."""
        values = {"flow_run": flow_run, "now": self._clock.time(), "open": _OPEN}
        with opened(self.path) as db:
            return db.execute(SQL["request_cancel"], values).rowcount > 0

    def mark_dead(self) -> list[str]:
        """Mark runs whose driver is gone Crashed; their ids."""
        now = self._clock.time()
        with opened(self.path) as db:
            drivers = [Driver(*row) for row in db.execute(SQL["open_runs"], (_OPEN,))]
            return [driver.run for driver in drivers if driver.gone(now) and self._crash(db, driver, now)]

    def _crash(self, db: sqlite3.Connection, driver: Driver, now: float) -> bool:
        name = state_name(CRASHED)
        values = {**driver._asdict(), "id": driver.run, "now": now, "open": _OPEN, "state": CRASHED}
        values |= {"state_name": name, "message": driver.message}
        with transaction(db):
            if db.execute(SQL["crash_run"], values).rowcount != 1:
                return False
            db.execute(SQL["add_transition"], (driver.run, -1, driver.attempt, CRASHED, name, driver.message, now))
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
