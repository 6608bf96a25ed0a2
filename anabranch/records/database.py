"""What the writer and the questions need of a database, be it a SQLite file or PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

Values = tuple[Any, ...]  # of one row, as SQL takes them


class Cursor(Protocol):
    """What came of a statement."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What connections of `sqlite3` and of `psycopg` have in common."""

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ..., /) -> Cursor: ...

    def close(self) -> None: ...


class Database(Protocol):
    """Where records lie; its connections are of one thread each."""

    @property
    def name(self) -> str:
        """As messages show it, without a login."""
        ...

    @property
    def sql(self) -> Mapping[str, str]:
        """The queries of queries.sql in its dialect."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What it raises when it cannot take rows now, and for rows that it can never take."""
        ...

    def connect(self) -> Connection:
        """A connection for the writer: it waits for a lock for moments only."""
        ...

    def opened(self) -> AbstractContextManager[Connection]:
        """A connection for a while; errors of the database leave as RecordsError, which names it."""
        ...

    def transaction(self, connection: Connection) -> AbstractContextManager[None]:
        """Commit at the end, or leave everything as it was after an exception."""
        ...

    def moment(self, connection: Connection) -> None:
        """From here on questions see the records as they are at the first one, until the connection is given back."""
        ...

    def many(self, connection: Connection, sql: str, rows: Iterable[Values]) -> None:
        """Carry out a statement for each row, in a transaction."""
        ...

    def single(self, connection: Connection, sql: str, row: Values) -> None:
        """The same for one row; when it fails, the transaction goes on without it."""
        ...

    def refused(self, error: Exception) -> bool:
        """Whether an error says that a row can never be stored, as opposed to a database that cannot take it now."""
        ...

    def overtaken(self, connection: Connection, tokens: Mapping[str, int]) -> set[str]:
        """Those of our runs, given with our tokens, that another driver has; inside the transaction that writes."""
        ...

    def compact(self) -> None:
        """Give space that is free back to the file system; raises RecordsError."""
        ...

    def size(self) -> int:
        """Bytes on disk."""
        ...

    def damage(self) -> list[str]:
        """What the database itself says is wrong with it; raises RecordsError when it cannot be asked."""
        ...
