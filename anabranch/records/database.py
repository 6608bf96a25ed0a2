"""Opening the SQLite file: its mode, its schema, its connections.

The file is in WAL mode with synchronous=NORMAL. What is committed survives the death of any process,
kill -9 included. A loss of power or a crash of the system may take the last commits with it (back to
the last checkpoint), but never leaves a damaged file or half of a commit.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anabranch.core.errors import RecordsError
from anabranch.records.statements import Migration, migrations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_NEW_FILE = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection to a file that exists; waits up to `timeout` seconds where another one holds a lock."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", timeout=timeout, isolation_level=None, uri=True)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def opened(path: Path, timeout: float = 30.0) -> Iterator[sqlite3.Connection]:
    """A connection for a while; SQLite's errors leave as RecordsError, which names the file."""
    try:
        connection = connect(path, timeout)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise RecordsError(f"the records in {path} cannot be used: {error}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; commit at the end, or leave everything as it was after an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def prepare(path: Path, steps: Sequence[Migration] | None = None, timeout: float = 30.0) -> None:
    """Make the file (mode 0600) where there is none, and bring its schema up to date.

    Any number of processes may do so at once.

    Raises:
        RecordsError: the file is no database, is locked for longer than `timeout`, or needs a newer anabranch.
    """
    steps = migrations() if steps is None else steps
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, _NEW_FILE, 0o600))
    except OSError as error:
        raise RecordsError(f"the records in {path} cannot be used: {error}") from error
    with opened(path, timeout) as connection:
        _write_ahead(connection, timeout)
        if _version(connection, path, steps) == len(steps):
            return
        for step in steps:
            with transaction(connection):
                if _version(connection, path, steps) < step.version:
                    for statement in step.statements:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {step.version}")


def _write_ahead(connection: sqlite3.Connection, timeout: float) -> None:
    """Change the file's journal mode, if nobody has; SQLite does not wait for others who do the same just now."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _version(connection: sqlite3.Connection, path: Path, steps: Sequence[Migration]) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise RecordsError(
            f"the records in {path} have schema version {version}; this anabranch knows versions up to {len(steps)}: "
            f"use one that knows version {version}, or another file"
        )
    return version
