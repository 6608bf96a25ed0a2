"""The SQLite file: its mode, its schema, its connections.

The file is in WAL mode with synchronous=NORMAL. A commit survives the death of any process, even by kill -9. A loss
of power or a crash of the system may lose the last commits (back to the last checkpoint), but never leaves a damaged
file or half of a commit. On a network file system, where WAL does not work, the file has a rollback journal instead
(records/union.py).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any

from anabranch.core import forks
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError
from anabranch.records.statements import SQL, Migration, migrations, newer, of_folder, overtaken, wide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from anabranch.core.contracts import Clock
    from anabranch.records.database import Asked, Values

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
_BUSY = 0.25  # seconds that one try of the writer waits for another process's lock
_PATIENCE = 30.0  # seconds that all others wait for it
_TOGETHER = 100  # rows in one statement
# Exceptions for a row that can never be stored, not for a database that cannot take it now.
_BAD_ROW = (
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError,
    AttributeError, OverflowError, RecordsError, TypeError, ValueError,
)  # fmt: skip


class SqliteFile:
    """A `Database` in the file at `path`; `prepare` makes it."""

    sql = SQL
    errors = (sqlite3.Error,)
    one_writer = True
    begin = ("BEGIN IMMEDIATE",)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def connect(self) -> sqlite3.Connection:
        return connect(self.path, _BUSY)

    def patient(self) -> sqlite3.Connection:
        return connect(self.path, _PATIENCE, any_thread=True)

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def clock(self) -> Clock:
        return SYSTEM  # all programs that use the file are on this machine

    def answers(self, connection: Any) -> bool:
        try:
            connection.execute("")
        except sqlite3.Error:
            return False
        return True

    def together(self, connection: Any, statements: Sequence[Asked]) -> list[list[Any]]:
        return [connection.execute(sql, values).fetchall() for sql, values in statements]

    def statements(self, folder: Path) -> Mapping[str, str]:
        return {name: statement.sql for name, statement in of_folder(folder).items()}

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        with opened(self.path) as connection:
            yield connection

    def bounded(self, seconds: float) -> AbstractContextManager[None]:
        return nullcontext()  # a file has no time-out; a statement that is slow holds nobody else up

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[None]:
        with transaction(connection):
            yield

    def moment(self, connection: Any) -> None:
        connection.execute("BEGIN")

    def many(self, connection: Any, sql: str, rows: Iterable[Values]) -> None:
        """Execute one statement for many rows: each statement releases the GIL, and may wait 5 ms to get it back."""
        rest = list(rows)
        if sql.startswith("INSERT"):
            while len(rest) >= _TOGETHER:
                connection.execute(wide(sql, _TOGETHER), tuple(chain.from_iterable(rest[:_TOGETHER])))
                del rest[:_TOGETHER]
        connection.executemany(sql, rest)

    def single(self, connection: Any, sql: str, row: Values) -> None:
        connection.execute(sql, row)

    def refused(self, error: Exception) -> bool:
        return isinstance(error, _BAD_ROW)

    def overtaken(self, connection: Any, tokens: Mapping[str, int]) -> set[str]:
        return overtaken(connection, self.sql["tokens"], tokens)

    def compact(self) -> None:
        with opened(self.path) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def damage(self) -> list[str]:
        with self.opened() as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found


def connect(path: Path, timeout: float, *, any_thread: bool = False) -> sqlite3.Connection:
    """Connect to an existing file; statements wait up to `timeout` seconds for another connection's lock."""
    address = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(
        address, timeout=timeout, isolation_level=None, uri=True, check_same_thread=not any_thread
    )
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def opened(path: Path, timeout: float = _PATIENCE) -> Iterator[sqlite3.Connection]:
    """Lend a connection; SQLite's errors become RecordsError, which names the file."""
    try:
        with forks.steady():
            connection = connect(path, timeout)
            try:
                yield connection
            finally:
                connection.close()
    except sqlite3.Error as error:
        raise RecordsError(f"the records in {path} cannot be used: {error}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; commit at the end of the block, or roll back after an exception."""
    connection.execute(*SqliteFile.begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def prepare(
    path: Path, steps: Sequence[Migration] | None = None, timeout: float = 30.0, *, wal: bool = True, make: bool = True
) -> None:
    """Make the file (mode 0600) where there is none (unless not `make`), and bring its schema up to date.

    Safe from many processes at once.

    Raises:
        RecordsError: the file is no database, stays locked for `timeout` seconds, or needs a newer anabranch.
    """
    steps = migrations() if steps is None else steps
    try:
        if make and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(path)
    except OSError as error:
        raise RecordsError(f"the records in {path} cannot be used: {error}") from error
    with opened(path, timeout) as connection:
        _set_journal(connection, "wal" if wal else "delete", timeout)
        if _version(connection, path, steps) == len(steps):
            return
        for step in steps:
            with transaction(connection):
                if _version(connection, path, steps) < step.version:
                    for statement in step.statements:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {step.version}")


def _make(path: Path) -> None:
    """Make an empty file for this user only, which appears under its name after it is closed.

    SQLite's locks are POSIX locks: a process that closes any descriptor of the file loses them all. Another process
    could then delete the log that a connection of this process still writes to. So the file is closed before it has
    its name.
    """
    new = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    os.close(os.open(new, _NEW_FILE, 0o600))
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _set_journal(connection: sqlite3.Connection, mode: str, timeout: float) -> None:
    """Set the journal mode if needed; retry while the file is locked, since SQLite's busy timeout does not apply."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != mode:
                connection.execute(f"PRAGMA journal_mode = {mode}")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _version(connection: sqlite3.Connection, path: Path, steps: Sequence[Migration]) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise RecordsError(newer(str(path), version, len(steps)))
    return version
