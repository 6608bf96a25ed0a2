"""A transaction of few round trips: the first statements travel with its begin, the last ones with its commit."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.records.database import Asked, Connection, ServiceDatabase


class Exchange:
    """A transaction on a connection; nothing of it stays unless it is ended."""

    def __init__(self, database: ServiceDatabase, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._open = False

    def ask(self, statements: Sequence[Asked]) -> list[list[Any]]:
        """Execute statements in order; returns the rows of each, which sees what is committed when it begins."""
        begin: list[Asked] = [] if self._open else [(sql, ()) for sql in self._database.begin]
        self._open = True
        return self._database.together(self._connection, [*begin, *statements])[len(begin) :]

    def end(self, statements: Sequence[Asked]) -> list[list[Any]]:
        """Execute the last statements and commit; returns their rows."""
        found = self.ask([*statements, ("COMMIT", ())])[:-1]
        self._open = False
        return found

    def leave(self) -> None:
        """Undo what was not ended; a connection that cannot do so is broken, and its end undoes it."""
        if self._open:
            self._open = False
            with suppress(*self._database.errors):
                self._connection.execute("ROLLBACK")
