"""The one writer: a thread that takes rows from a queue and commits them together.

Whoever appends pays for a `deque.extend`: the first row after a commit wakes the thread, which then
waits `commit_interval` for more. While the database is locked, full or out of reach, rows wait in
memory (blocks of one map merged, at 2 to 9 bytes an item) and the thread tries again for ever.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RecordsError
from anabranch.records.batch import Batch, BlockRow, Mark, Values
from anabranch.records.blocks import SEAL, Pack, decode
from anabranch.records.database import connect, transaction
from anabranch.records.statements import SQL, wide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from anabranch.core.runs import Row

logger = logging.getLogger("anabranch.records")

_BUSY = 0.25  # seconds that one try waits for another process's lock
_PAUSES = (0.01, 0.25)  # seconds between tries, doubling from the first to the second
_TOGETHER = 100  # rows in one statement
_COMPLAIN = 5.0  # seconds of trying before it is worth a warning
_FEW = 256  # items of a map that are not worth a second look at its end
# What a row that cannot be stored raises, as opposed to a database that cannot take it now.
_BAD_ROW = (
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError,
    AttributeError, OverflowError, RecordsError, TypeError, ValueError,
)  # fmt: skip


class Writer:
    """Writes rows to the file at `path`, from a daemon thread that starts with the first row."""

    def __init__(self, path: Path, commit_interval: float = 0.05) -> None:
        self.path = path
        self.interval = commit_interval
        self.seconds = 0.0  # of CPU that the thread has used
        self._inbox: deque[Row | Mark] = deque()
        self._due = False  # the thread is awake and will look into the inbox once more
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.Lock()  # around starting and closing only
        self._closing = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._batch = Batch()
        self._loose: dict[str, list[int]] = {}  # blobs and items of a map that are not sealed
        self._to_seal: list[str] = []

    # -- any thread ------------------------------------------------------------------------------

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows; they must not change any more. Raises RecordsError in a forked child and once closed."""
        if self._closing or os.getpid() != self._pid:
            self._refuse()
        self._inbox.extend(rows)
        if not self._due:
            self._rouse()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all rows appended before are committed; False when that took too long."""
        if os.getpid() != self._pid:
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
        """Commit what was appended and end the thread; after `timeout` leave it to try on alone.

        In a forked child it does nothing: the thread and the rows are the parent's.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closing = True
            thread = self._thread
            self._hurry.set()
            self._wake.set()
        if thread is not None:
            thread.join(timeout)

    def _refuse(self) -> None:
        if os.getpid() != self._pid:
            raise RecordsError("the records belong to the process that opened them: open them again after a fork")
        raise RecordsError(f"the records in {self.path} are closed")

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
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(self.interval)
            self._hurry.clear()
            # Appending looks at `_due` after it has put rows in: what it does not announce is found below.
            self._due = False
            self._round()
            self.seconds = time.thread_time()
            if self._closing and not self._inbox:
                break
            if self._closing:
                self._wake.set()
                self._hurry.set()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.seconds = time.thread_time()

    def _round(self) -> None:
        """Commit what is there, however often that has to be tried; then seal what has become enough."""
        if not self._try_on(self._commit):
            return
        maps, self._to_seal = list(dict.fromkeys(self._to_seal)), []
        for map in maps:
            try:
                self._seal(map)
            except RecordsError as error:
                logger.warning("Items of map %s are left as they are: %s", map, error)
            except sqlite3.Error:
                self._disconnect()
                self._to_seal.append(map)  # with the next commit

    def _try_on(self, step: Callable[[], bool]) -> bool:
        pause, began, complained = _PAUSES[0], time.monotonic(), False
        while True:
            self._drain()
            try:
                done = step()
            except sqlite3.Error as error:
                self._disconnect()
                if not complained and time.monotonic() - began > _COMPLAIN:
                    complained = True
                    logger.warning("Records wait in memory: %s cannot be written now: %s", self.path, error)
                time.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])
                continue
            if complained:
                logger.warning("Records are being written to %s again", self.path)
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
            except sqlite3.Error:
                pass
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self.path, _BUSY)
        return self._connection

    def _commit(self) -> bool:
        batch = self._batch
        if batch:
            connection = self._connected()
            try:
                blocks = self._write(connection, batch, self._together)
            except _BAD_ROW:
                blocks = self._write(connection, batch, self._one_by_one)
            for row in blocks:
                if not row.sealed:
                    self._count_loose(row)
            self._to_seal += [m.id for m in batch.maps.values() if m.ended is not None and self._worth(m.id)]
        wrote = bool(batch)
        self._batch = Batch()
        for mark in batch.marks:
            mark.set()
        return wrote

    def _write(
        self, connection: sqlite3.Connection, batch: Batch, many: Callable[[str, Iterable[Any]], object]
    ) -> list[BlockRow]:
        with transaction(connection):
            blocks = batch.blocks()
            for name, values, rows in batch.writes():
                many(SQL[name], map(values, rows))
            many(SQL["add_block"], [row[:6] for row in blocks])
        return blocks

    def _together(self, sql: str, rows: Iterable[Values]) -> None:
        """Write rows, many in a statement: each statement gives the GIL away, and may get it back 5 ms later."""
        connection = self._connected()
        rest = list(rows)
        if sql.startswith("INSERT"):
            while len(rest) >= _TOGETHER:
                connection.execute(wide(sql, _TOGETHER), tuple(chain.from_iterable(rest[:_TOGETHER])))
                del rest[:_TOGETHER]
        connection.executemany(sql, rest)

    def _one_by_one(self, sql: str, rows: Iterable[Values]) -> None:
        """Write rows of which one at least is bad: text is mended where it can be, the rest is left out."""
        connection = self._connected()
        values = iter(rows)
        while True:
            row: Values = ()
            try:
                row = next(values)
                connection.execute(sql, tuple(map(_mended, row)))
            except StopIteration:
                return
            except _BAD_ROW as error:
                logger.warning("A row of the records was left out: %s: %s: %.200r", type(error).__name__, error, row)

    # -- sealing ---------------------------------------------------------------------------------

    def _count_loose(self, row: BlockRow) -> None:
        loose = self._loose.setdefault(row.map, [0, 0])
        loose[0] += 1
        loose[1] += row.items
        if loose[1] >= SEAL:
            self._to_seal.append(row.map)

    def _worth(self, map: str) -> bool:
        """Whether a map that has ended has blobs to merge; forgets those that are too little."""
        blobs, items = self._loose.get(map, (0, 0))
        if blobs > 1 or items > _FEW:
            return True
        self._loose.pop(map, None)
        return False

    def _seal(self, map: str) -> None:
        """Merge a map's loose blobs into few sealed ones."""
        connection = self._connected()
        open_: dict[tuple[int, int], Pack] = {}
        rows: list[BlockRow] = []
        ids = []
        for id_, attempt, data in connection.execute(SQL["loose_blocks"], (map,)):
            ids.append((id_,))
            pack = decode(data)
            if (whole := open_.get((attempt, pack.times))) is None:
                whole = open_[attempt, pack.times] = Pack(pack.base, pack.times)
            whole.extend(pack)
            if whole.count >= SEAL:
                rows.append(BlockRow.of(map, attempt, open_.pop((attempt, pack.times)), sealed=True))
        rows += [BlockRow.of(map, attempt, pack, sealed=True) for (attempt, _), pack in open_.items()]
        with transaction(connection):
            connection.executemany(SQL["drop_block"], ids)
            connection.executemany(SQL["add_block"], [row[:6] for row in rows])
        self._loose.pop(map, None)


def _mended(value: Any) -> Any:
    """Text without halves of surrogate pairs, which no file can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
