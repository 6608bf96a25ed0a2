"""What all nouns of the service share: the statements, the connections, the clock, the ids, and the bell.

Locks are always taken in one order: the pool's row first (`lock_pool`), then rows of orders. In a SQLite file the
first statement of a transaction locks all.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.core.ids import Ids
from anabranch.records.service.connections import Connections
from anabranch.records.service.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from anabranch.core.contracts import Clock
    from anabranch.records.database import Connection, ServiceDatabase

_HERE = Path(__file__).parent


class Ledger:
    """The database as the nouns of the service use it, from any thread.

    Attributes:
        sql: the queries of the .sql files in this folder, by name.
    """

    def __init__(self, database: ServiceDatabase, *, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self.database = database
        self.sql = database.statements(_HERE)
        self._clock = clock or database.clock()
        self.ids = ids or Ids(now=SYSTEM.time if clock is None else clock.time)
        self.bell = Bell()
        self._connections = Connections(database)

    def now(self) -> float:
        return self._clock.time()

    def read(self) -> AbstractContextManager[Connection]:
        """Lend a connection for queries; each sees what is committed when it begins."""
        return self._connections.lent()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Lend a connection in a transaction; it commits at the end of the block, or rolls back after an exception."""
        with self._connections.lent(writes=True) as db, self.database.transaction(db):
            yield db

    @contextmanager
    def exchange(self) -> Iterator[Exchange]:
        """Lend a connection for a transaction of few round trips; what the block does not end is undone."""
        with self._connections.lent(writes=True) as db:
            exchange = Exchange(self.database, db)
            try:
                yield exchange
            finally:
                exchange.leave()

    def lock_pool(self, db: Connection, name: str) -> bool:
        """Lock a pool until the transaction ends, and raise its turn: agents that wait look again. False: no such."""
        return db.execute(self.sql["lock_pool"], (name,)).rowcount > 0

    def close(self) -> None:
        self._connections.close()
        self.database.close()


class Bell:
    """Wakes the threads of this process that wait for orders; others look at the turn of their pool."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rung = 0

    @property
    def rung(self) -> int:
        """How often it was rung: read before a look, so that `wait` misses nothing that came after it."""
        return self._rung

    def ring(self) -> None:
        """Wake all; called after the commit of what may be claimed now."""
        with self._changed:
            self._rung += 1
            self._changed.notify_all()

    def wait(self, rung: int, seconds: float) -> bool:
        """Wait until it is rung more often than `rung`; False after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._rung != rung, seconds)
