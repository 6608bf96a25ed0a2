"""The contract of a database, a SQLite file or PostgreSQL, as the writer and the queries need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from anabranch.core.contracts import Clock

Values = tuple[Any, ...]  # of one row, as parameters of a statement
Asked = tuple[str, "Values | Mapping[str, Any]"]  # a statement and its parameters


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """The common part of connections of `sqlite3` and `psycopg`."""

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ..., /) -> Cursor: ...

    def close(self) -> None: ...


class Database(Protocol):
    """A database of records; each of its connections belongs to one thread."""

    @property
    def name(self) -> str:
        """The name in messages, without a login."""
        ...

    @property
    def sql(self) -> Mapping[str, str]:
        """The queries of queries.sql in the database's dialect."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The exceptions for rows that it cannot take now, and for rows that it can never take."""
        ...

    def connect(self) -> Connection:
        """Return a connection for the writer, which waits for a lock only briefly."""
        ...

    def opened(self) -> AbstractContextManager[Connection]:
        """Lend a connection; errors of the database become RecordsError, which names the database."""
        ...

    def bounded(self, seconds: float) -> AbstractContextManager[None]:
        """Have the database end statements of `opened` that last longer, in this thread and within the block."""
        ...

    def transaction(self, connection: Connection) -> AbstractContextManager[None]:
        """Commit at the end of the block, or roll back after an exception."""
        ...

    def moment(self, connection: Connection) -> None:
        """Fix one moment: later queries on this connection see the records as of the first, until it is given back."""
        ...

    def many(self, connection: Connection, sql: str, rows: Iterable[Values]) -> None:
        """Execute a statement for each row, in a transaction."""
        ...

    def single(self, connection: Connection, sql: str, row: Values) -> None:
        """Execute a statement for one row; when it fails, the transaction continues without it."""
        ...

    def refused(self, error: Exception) -> bool:
        """Return whether an error means that the row can never be stored, not only that the database cannot now."""
        ...

    def overtaken(self, connection: Connection, tokens: Mapping[str, int]) -> set[str]:
        """Return those of this driver's runs (with tokens) that another driver has; within the write transaction."""
        ...

    def compact(self) -> None:
        """Return free space to the file system; raises RecordsError."""
        ...

    def size(self) -> int:
        """Return the bytes on disk."""
        ...

    def damage(self) -> list[str]:
        """Return the damage that the database's own check finds; raises RecordsError when the check cannot run."""
        ...


class ServiceDatabase(Database, Protocol):
    """A database that can hold the service as well: one that all programs write to."""

    @property
    def one_writer(self) -> bool:
        """Whether it takes one transaction that writes at a time, and others look again and again until it is over."""
        ...

    @property
    def begin(self) -> tuple[str, ...]:
        """The statements that begin a transaction that writes."""
        ...

    def close(self) -> None:
        """Close the connection that it keeps for `opened`, if any; it may be used again."""
        ...

    def patient(self) -> Connection:
        """Return a connection for many short transactions of any threads, one thread at a time."""
        ...

    def answers(self, connection: Connection) -> bool:
        """Return whether a connection that nobody used for a while is still good."""
        ...

    def together(self, connection: Connection, statements: Sequence[Asked]) -> list[list[Any]]:
        """Execute statements in one round trip, in order; each sees what is committed then. Returns their rows."""
        ...

    def clock(self) -> Clock:
        """Return the clock by which all programs that use the database judge leases."""
        ...

    def statements(self, folder: Path) -> Mapping[str, str]:
        """Return the queries of a folder's .sql files in the database's dialect."""
        ...
