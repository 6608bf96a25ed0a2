"""Deletion of old runs, a little at a time, so that other writers do not wait for it.

A step is one transaction of some 20 ms, and the pause after it is as long as the step was: other writers get the
lock in between. A run's items, blobs and lines are deleted first and its own row last. So a failed step, or the death
of the process, leaves nothing that a later deletion does not find.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.records.leftovers import Leftovers
from anabranch.records.views import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.contracts import Clock
    from anabranch.records.database import Connection, Database
    from anabranch.records.reader import Reader

DAY = 86_400.0
FIRST = 300.0  # seconds of a program's life: short programs leave it to others
EVERY = 3600.0  # seconds between two turns, over all programs
_AGAIN = 60.0  # seconds after a step that failed
_STEP = 0.02  # seconds of deleting in one transaction
_LARGE = {"drop_stored": 20, "drop_blocks": 4}  # rows deleted by one statement; 500 for others
_OPEN = json.dumps(OPEN)


class Sweep:
    """The deletion of all runs that ended before a time, in steps.

    Args:
        database: holds the runs.
        before: Unix time.
    """

    def __init__(self, database: Database, before: float) -> None:
        self.runs = 0  # deleted so far
        self._database = database
        self._before = before

    def step(self, connection: Connection) -> bool:
        """Delete a little; False when nothing is left to delete. After an error of the database nothing has changed."""
        began, runs = time.monotonic(), self.runs
        try:
            with self._database.transaction(connection):
                for _ in self._deletions(connection):
                    if time.monotonic() - began >= _STEP:
                        return True
        except BaseException:
            self.runs = runs
            raise
        return False

    def _deletions(self, db: Connection) -> Iterator[None]:
        """Delete all; yields after each statement."""
        sql = self._database.sql
        values = {"before": self._before, "open": _OPEN, "limit": 1}
        while (found := db.execute(sql["old_runs"], values).fetchone()) is not None:
            run: str = found[0]
            db.execute(sql["drop_order"], (run,))  # first: orders are locked before their runs
            db.execute(sql["bar_run"], (run,))
            while (map := db.execute(sql["any_map"], (run,)).fetchone()) is not None:
                yield from self._delete_map(db, map[0])
            for query in ("drop_stored", "drop_transitions", "drop_logs"):
                yield from self._empty(db, query, owner=run)
            db.execute(sql["drop_cancel"], (run,))
            db.execute(sql["drop_run"], (run,))
            self.runs += 1
            yield
        while (found := db.execute(sql["old_stray"], values).fetchone()) is not None:
            yield from self._delete_map(db, found[0])
        yield from self._empty(db, "drop_old_logs", before=self._before)

    def _delete_map(self, db: Connection, map: str) -> Iterator[None]:
        for query in ("drop_items", "drop_stored", "drop_transitions"):
            yield from self._empty(db, query, owner=map)
        # While this waited, another process may have merged these blobs into new ones.
        while db.execute(self._database.sql["any_block"], (map,)).fetchone() is not None:
            yield from self._empty(db, "drop_blocks", owner=map)
        db.execute(self._database.sql["drop_map"], (map,))
        yield

    def _empty(self, db: Connection, query: str, **which: object) -> Iterator[None]:
        values = {**which, "rows": _LARGE.get(query, 500)}
        while db.execute(self._database.sql[query], values).rowcount:
            yield


class Retention:
    """The schedule of the deletion by the writer's thread: at most once an hour for each database.

    Args:
        days: runs that ended longer ago are deleted, and lines of the audit of before.
        clock: for their age.
    """

    def __init__(self, days: float, clock: Clock = SYSTEM) -> None:
        self._days = days
        self._clock = clock
        self._due = time.monotonic() + FIRST
        self._sweeps: list[Sweep | Leftovers] = []

    def pause(self) -> float:
        """Return the seconds until the next step."""
        return max(0.0, self._due - time.monotonic())

    def step(self, database: Database, connected: Callable[[], Connection]) -> None:
        """Delete a little, if it is time. After an error of the database nothing has changed."""
        if self.pause() > 0:
            return
        self._due = time.monotonic() + _AGAIN
        began, now = time.monotonic(), self._clock.time()
        connection = connected()
        if not self._sweeps and _taken(database, connection, now):
            before = now - self._days * DAY
            self._sweeps = [Sweep(database, before), Leftovers(database, now, before)]
        while self._sweeps and not self._sweeps[0].step(connection):
            self._sweeps.pop(0)
        self._due = 2 * time.monotonic() - began if self._sweeps else time.monotonic() + EVERY


def _taken(database: Database, connection: Connection, now: float) -> bool:
    """Take the hourly turn; False when another process had it lately."""
    values = {"name": "retention", "now": now, "lately": now - EVERY}
    return connection.execute(database.sql["take_chore"], values).rowcount > 0


def sweep(database: Database, before: float) -> int:
    """Delete all runs that ended before a time, now; returns their number. Raises RecordsError."""
    sweeping = Sweep(database, before)
    with database.opened() as connection:
        while True:
            began = time.monotonic()
            if not sweeping.step(connection):
                return sweeping.runs
            time.sleep(max(0.005, time.monotonic() - began))


def old_runs(reader: Reader, before: float) -> list[str]:
    """Return the runs that `sweep` would delete."""
    return [row[0] for row in reader.ask("old_runs", {"before": before, "open": _OPEN, "limit": 1 << 62})]
