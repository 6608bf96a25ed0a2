"""The sink of a database: each batch is one transaction; maps are sealed and old runs deleted between them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from anabranch.core import forks
from anabranch.records.fencing import Fence
from anabranch.records.sealing import Sealer
from anabranch.records.writer import Aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.records.batch import Batch, BlockRow
    from anabranch.records.database import Connection, Database, Values
    from anabranch.records.writer import Tidying

logger = logging.getLogger("anabranch.records")


class SqlSink:
    """A `Sink` in a database."""

    away = False  # its rows wait for as long as it takes

    def __init__(self, database: Database, tidying: Tidying | None = None) -> None:
        self.database = database
        self.fence = Fence()
        self._connection: Connection | None = None
        self._sealer = Sealer(database)
        self._tidying = tidying

    @property
    def name(self) -> str:
        return self.database.name

    @property
    def lost(self) -> set[str]:
        return self.fence.lost

    def take(self, batch: Batch) -> None:
        """Commit a batch."""
        with forks.steady():
            connection = self._connected()
            try:
                blocks = self._write(connection, batch, self.database.many)
            except Exception as error:
                if not self.database.refused(error):
                    raise
                blocks = self._write(connection, batch, self._one_by_one)
            self._sealer.wrote(blocks, (map.id for map in batch.maps.values() if map.ended is not None))

    def deliver(self) -> None:
        """Do nothing: what was taken is committed."""

    def set_aside(self, batch: Batch, closing: float | None) -> Aside:
        """Leave the rows where they are."""
        return Aside.LEFT

    def settle(self) -> None:
        """Seal maps with enough blobs."""
        try:
            with forks.steady():
                self._sealer.seal(self._connected)
        except self.database.errors:
            self.disconnect()  # the next commit seals again

    def pause(self) -> float | None:
        return None if self._tidying is None else self._tidying.pause()

    def idle(self) -> None:
        """Delete some old runs."""
        try:
            if self._tidying is not None:
                with forks.steady():
                    self._tidying.step(self.database, self._connected)
        except Exception as error:  # it can wait: rows cannot
            self.disconnect()
            if not isinstance(error, self.database.errors):
                logger.warning("Old runs were not deleted: %s: %s", type(error).__name__, error)

    def disconnect(self) -> None:
        """Close the connection: after an error other than a lock it may be of no use any more."""
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

    def _write(
        self, connection: Connection, batch: Batch, many: Callable[[Connection, str, Iterable[Values]], None]
    ) -> list[BlockRow]:
        sql = self.database.sql
        with self.database.transaction(connection):
            for name, values, rows in batch.ends():
                many(connection, sql[name], map(values, rows))
            self.fence.look(self.database, connection, batch)
            blocks = batch.blocks()
            for name, values, rows in batch.writes():
                many(connection, sql[name], map(values, rows))
            if blocks:
                many(connection, sql["add_block"], [row.values for row in blocks])
        return blocks

    def _one_by_one(self, connection: Connection, sql: str, rows: Iterable[Values]) -> None:
        one_by_one(self.database, connection, sql, rows)


def one_by_one(database: Database, connection: Connection, sql: str, rows: Iterable[Values]) -> None:
    """Write rows with at least one bad one: bad text is mended if possible, other bad rows are left out."""
    values = iter(rows)
    while True:
        row: Values = ()
        try:
            row = next(values)
            database.single(connection, sql, tuple(map(mended, row)))
        except StopIteration:
            return
        except Exception as error:
            if not database.refused(error):
                raise
            logger.warning("A row of the records was left out: %s: %s: %.200r", type(error).__name__, error, row)


def mended(value: Any) -> Any:
    """Return text without lone surrogates, which no database stores."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
