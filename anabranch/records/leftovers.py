"""Deletion of what only grows beside the runs: the audit, and the numbers of drivers that are long gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.records.database import Connection, Database

GONE = 90 * 86_400.0  # seconds without a frame after which a driver sends none any more
_ROWS = 500  # deleted in one transaction


class Leftovers:
    """The deletion of all lines of the audit and numbers of drivers from before a time each, in steps.

    Args:
        database: holds them.
        now: Unix time.
        before: Unix time; of the audit.
    """

    def __init__(self, database: Database, now: float, before: float) -> None:
        self._database = database
        self._left = [("drop_old_audit", before), ("drop_old_writers", now - GONE)]

    def step(self, connection: Connection) -> bool:
        """Delete a little; False when nothing is left to delete. After an error of the database nothing has changed."""
        while self._left:
            query, before = self._left[0]
            with self._database.transaction(connection):
                found = connection.execute(self._database.sql[query], {"before": before, "rows": _ROWS}).rowcount
            if found >= _ROWS:
                return True
            self._left.pop(0)
        return False
