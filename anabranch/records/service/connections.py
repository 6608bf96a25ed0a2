"""Connections that are kept and lent to one thread at a time: opening one costs more than most calls of the service."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from anabranch.core import forks, secrets
from anabranch.core.errors import AnabranchError, RecordsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from anabranch.records.database import Connection, ServiceDatabase

_KEPT = 8  # connections that wait for the next call

# Connections of the process that this one is a forked copy of: closing one here would disturb its owner.
_of_parent: list[Connection] = []


class Connections:
    """The connections to a database, from any thread, and in forked copies of the process."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._spare: list[Connection] = []
        # Threads of one process take turns: to wait for SQLite's own lock is to look now and then.
        self._turn: AbstractContextManager[object] = threading.Lock() if database.one_writer else nullcontext()
        self._closed = False
        forks.owned(self)

    @contextmanager
    def lent(self, *, writes: bool = False) -> Iterator[Connection]:
        """Lend a connection; errors of the database become RecordsError, which names the database."""
        try:
            with self._turn if writes else nullcontext(), forks.steady():
                connection = self._taken() or self._database.patient()
                try:
                    yield connection
                except AnabranchError:  # a refusal, not a fault of the connection
                    self._give(connection)
                    raise
                except BaseException:
                    connection.close()
                    raise
                self._give(connection)
        except self._database.errors as error:
            told = secrets.mask(str(error))
            raise RecordsError(f"the records in {self._database.name} cannot be used: {told}") from error

    def close(self) -> None:
        """Close what is not lent; what is lent closes when it comes back."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, []
        for connection in spare:
            connection.close()

    def let_go(self) -> None:
        _of_parent.extend(self._spare)
        self._spare = []
        self._lock = threading.Lock()
        self._turn = threading.Lock() if self._database.one_writer else nullcontext()

    def _taken(self) -> Connection | None:
        """Return a kept connection that still answers."""
        while True:
            with self._lock:
                connection = self._spare.pop() if self._spare else None
            if connection is None:
                return None
            if self._database.answers(connection):
                return connection
            connection.close()

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._spare) < _KEPT:
                self._spare.append(connection)
                return
        connection.close()
