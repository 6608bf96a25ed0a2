"""The one writer: a thread that takes rows from a queue and commits them together.

Appending costs a `deque.extend`. The first row after a commit wakes the thread, which then waits `commit_interval` for
more. While the database is locked, full or out of reach, rows wait in memory (blocks of one map merged, at 2 to 9
bytes an item) and the thread tries again for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core import forks
from anabranch.core.errors import RecordsError
from anabranch.core.runs import StoredRow
from anabranch.records.batch import Batch, BlockRow, Mark
from anabranch.records.fencing import Fence
from anabranch.records.sealing import Sealer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.core.runs import Row
    from anabranch.records.database import Connection, Database, Values

logger = logging.getLogger("anabranch.records")

_PAUSES = (0.01, 0.25)  # seconds between tries, doubling from the first to the second
_MANY = 1000  # items; so many are committed at once, because a crash would run them again
_COMPLAIN = 5.0  # seconds of trying before a warning
_WAITS = "Cannot write to the record at %s. Rows are kept in memory until it works; tasks continue. (%s)"


class Tidying(Protocol):
    """The contract of the work that the writer's thread does while there is nothing to write."""

    def pause(self) -> float:
        """Return the seconds until the next step."""
        ...

    def step(self, database: Database, connected: Callable[[], Connection]) -> None:
        """Do a little work, if it is time. After an error of the database nothing has changed."""
        ...


class Writer:
    """Writes rows to a database, from a daemon thread that starts with the first row; between them it tidies up."""

    def __init__(self, database: Database, commit_interval: float = 0.05, tidying: Tidying | None = None) -> None:
        self.database = database
        self.interval = commit_interval
        self.seconds = 0.0  # CPU time of the thread
        self._inbox: deque[Row | Mark] = deque()
        self._due = False  # the thread is awake and will read the inbox once more
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.Lock()  # for starting and closing only
        self._closing = False
        self._thread: threading.Thread | None = None
        self._copied = forks.mark()
        self._connection: Connection | None = None
        self._batch = Batch()
        self.fence = Fence()
        self._sealer = Sealer(database)
        self._tidying = tidying

    # -- any thread ------------------------------------------------------------------------------

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows, which must not change any more. Raises RecordsError in a forked child and after `close`."""
        if self._closing or self._copied:
            self._refuse()
        rows = tuple(rows)
        self._inbox.extend(rows)
        for row in rows:
            if type(row) is StoredRow and len(row.items) >= _MANY:
                self._hurry.set()
        if not self._due:
            self._rouse()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all rows appended before are committed; False after `timeout`."""
        if self._copied:
            self._refuse()
        with self._lock:
            if self._thread is None or self._closing:
                return not self._inbox and not self._batch
            mark = Mark()
            self._inbox.append(mark)
            self._hurry.set()
            self._due = True
            self._wake.set()
        return mark.wait(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Commit the appended rows and end the thread; after `timeout` leave it to try on alone.

        In a forked child it does nothing: the thread and the rows are the parent's.
        """
        if self._copied:
            return
        with self._lock:
            self._closing = True
            thread = self._thread
            self._hurry.set()
            self._wake.set()
        if thread is not None:
            thread.join(timeout)

    def _refuse(self) -> None:
        if self._copied:
            raise RecordsError("the records belong to the process that opened them: open them again after a fork")
        raise RecordsError(f"the records in {self.database.name} are closed")

    def _rouse(self) -> None:
        with self._lock:
            self._due = True
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="anabranch-records", daemon=True)
                self._thread.start()
            self._wake.set()

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            if not self._wake.wait(None if self._tidying is None else self._tidying.pause()):
                self._tidy()
                continue
            self._wake.clear()
            self._hurry.wait(self.interval)
            self._hurry.clear()
            # `append` reads `_due` after it has added rows, so rows that it does not announce are found below.
            self._due = False
            self._round()
            self.seconds = time.thread_time()
            if self._closing and not self._inbox:
                break
            if self._closing:
                self._wake.set()
                self._hurry.set()
            elif self._tidying is not None and self._tidying.pause() <= 0:
                self._tidy()
        self._disconnect()
        self.seconds = time.thread_time()

    def _round(self) -> None:
        """Commit the waiting rows, trying as often as needed; then seal maps with enough blobs."""
        if not self._try_on(self._commit):
            return
        try:
            with forks.steady():
                self._sealer.seal(self._connected)
        except self.database.errors:
            self._disconnect()  # the next commit seals again

    def _tidy(self) -> None:
        """Delete some old runs."""
        try:
            if self._tidying is not None:
                with forks.steady():
                    self._tidying.step(self.database, self._connected)
        except Exception as error:  # it can wait: rows cannot
            self._disconnect()
            if not isinstance(error, self.database.errors):
                logger.warning("Old runs were not deleted: %s: %s", type(error).__name__, error)

    def _try_on(self, step: Callable[[], bool]) -> bool:
        pause, began, complained = _PAUSES[0], time.monotonic(), False
        while True:
            self._drain()
            try:
                with forks.steady():
                    done = step()
            except Exception as error:  # any exception: a thread that ended would lose rows
                self._disconnect()
                if not complained and time.monotonic() - began > _COMPLAIN:
                    complained = True
                    name = self.database.name
                    logger.warning(_WAITS, name, error)
                time.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])
                continue
            if complained:
                logger.warning("The record at %s can be written again: no row was lost.", self.database.name)
            return done

    def _drain(self) -> None:
        inbox, batch = self._inbox, self._batch
        for _ in range(len(inbox)):
            row = inbox.popleft()
            try:
                batch.take(row)
            except Exception as error:
                logger.warning("A row of the records was left out: %s: %s: %.200r", type(error).__name__, error, row)

    def _disconnect(self) -> None:
        """A connection that met an error other than a lock may be of no use any more."""
        if self._connection is not None:
            try:
                self._connection.close()
            except self.database.errors:
                pass
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self.database.connect()
        return self._connection

    def _commit(self) -> bool:
        batch = self._batch
        if batch:
            connection = self._connected()
            try:
                blocks = self._write(connection, batch, self.database.many)
            except Exception as error:
                if not self.database.refused(error):
                    raise
                blocks = self._write(connection, batch, self._one_by_one)
            self._sealer.wrote(blocks, batch.maps.values())
        wrote = bool(batch)
        self._batch = Batch()
        for mark in batch.marks:
            mark.set()
        return wrote

    def _write(
        self, connection: Connection, batch: Batch, many: Callable[[Connection, str, Iterable[Values]], None]
    ) -> list[BlockRow]:
        sql = self.database.sql
        with self.database.transaction(connection):
            self.fence.look(self.database, connection, batch)
            blocks = batch.blocks()
            for name, values, rows in batch.writes():
                many(connection, sql[name], map(values, rows))
            if blocks:
                many(connection, sql["add_block"], [row.values for row in blocks])
        return blocks

    def _one_by_one(self, connection: Connection, sql: str, rows: Iterable[Values]) -> None:
        """Write rows with at least one bad one: bad text is mended if possible, other bad rows are left out."""
        values = iter(rows)
        while True:
            row: Values = ()
            try:
                row = next(values)
                self.database.single(connection, sql, tuple(map(_mended, row)))
            except StopIteration:
                return
            except Exception as error:
                if not self.database.refused(error):
                    raise
                logger.warning("A row of the records was left out: %s: %s: %.200r", type(error).__name__, error, row)


def _mended(value: Any) -> Any:
    """Return text without lone surrogates, which no database stores."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
