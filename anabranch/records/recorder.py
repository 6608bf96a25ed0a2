"""Records in a database: the writer's thread, the queries, and the check for dead drivers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.core.states import CRASHED
from anabranch.records.drivers import Driver, ordered, taken
from anabranch.records.limits import RecordLimits
from anabranch.records.reader import Reader
from anabranch.records.retention import Retention, old_runs
from anabranch.records.sql_sink import SqlSink
from anabranch.records.upkeep import Problem, Sizes, check, compact, places
from anabranch.records.views import OPEN, state_name
from anabranch.records.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from anabranch.core.contracts import Clock
    from anabranch.core.limits import LimitStore
    from anabranch.core.runs import FlowRunRow, Row
    from anabranch.records.database import Connection, Database
    from anabranch.records.writer import Tidying

OPEN_JSON = json.dumps(OPEN)


class Recorder(Reader):
    """`Records` in a database, which several processes may read and write at once.

    The writing thread starts with the first row. The death of the process, even by kill -9, loses only the rows of the
    last `commit_interval`.

    Args:
        database: its schema is up to date.
        clock: for `mark_dead`, `request_cancel` and the age of runs.
        commit_interval: seconds from the first row after a commit to the next commit.
        retention_days: runs that ended longer ago are deleted now and then; 0 keeps all.
        tidying: deletes them; `Retention` unless another is given.
    """

    def __init__(
        self, database: Database, *, clock: Clock = SYSTEM, commit_interval: float = 0.05, retention_days: float = 0.0,
        tidying: Tidying | None = None,
    ) -> None:  # fmt: skip
        super().__init__(database)
        self._clock = clock
        self.limits: LimitStore = RecordLimits(database, clock)
        if tidying is None and retention_days:
            tidying = Retention(retention_days, clock)
        self._writer = Writer(SqlSink(database, tidying), commit_interval)

    @property
    def writer_seconds(self) -> float:
        """CPU time that the writing thread has used up to its last commit."""
        return self._writer.seconds

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows, which must not change any more, to be committed in order within `commit_interval`.

        It does not wait. Rows that cannot be stored are logged and left out.

        Raises:
            RecordsError: in a forked child, or after `close`.
        """
        self._writer.append(rows)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all rows appended before are committed; False after `timeout`."""
        return self._writer.flush(timeout)

    def publish(self, timeout: float | None = None) -> bool:
        """Do as `flush`, for programs on other machines too: what is committed here, they see."""
        return self._writer.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Commit the appended rows, seal blobs, and end the writing thread.

        After `timeout` seconds the thread is left to try on as long as the process lives.
        """
        self._writer.close(timeout)

    def tidy(self) -> None:
        """Let old runs be deleted now and then from here on, though this program may never append a row."""
        self._writer.append(())

    def request_cancel(self, flow_run: str) -> bool:
        """Request that a run be cancelled; False when there is none of this id or it has ended."""
        values = {"flow_run": flow_run, "now": self._clock.time(), "open": OPEN_JSON}
        with self.database.opened() as db:
            return db.execute(self.database.sql["request_cancel"], values).rowcount > 0

    def claim(self, driver: FlowRunRow) -> int:
        """Make this process the driver of a run after its earlier one is gone. Raises RunTakenError."""
        self.flush(30.0)
        run = self.flow_run(driver.id)
        earlier = None if run is None or run.id != driver.id else Driver.of(run)
        if run is None or earlier is None or not earlier.let(driver, self._clock.time()):
            raise taken(driver.id, earlier, driver)
        names = ("id", "pid", "pid_started", "host", "heartbeat", "incarnation")
        values = {name: getattr(driver, name) for name in names}
        sql = self.database.sql
        with self.database.opened() as db, self.database.transaction(db):
            if (order := db.execute(sql["ordered"], (driver.id,)).fetchone()) is not None:
                raise ordered(run.name, order[0])
            if db.execute(sql["claim"], {**values, "token": run.token}).rowcount != 1:
                now = self.flow_run(driver.id)  # another process was quicker: the error names it
                raise taken(driver.id, earlier if now is None else Driver.of(now), driver)
            db.execute(sql["drop_cancel"], (driver.id,))  # the request was meant for the earlier driver
        return run.token + 1

    def taken_over(self, flow_runs: Sequence[str]) -> set[str]:
        """Return those of this driver's runs that another driver has taken over."""
        return self._writer.sink.lost.intersection(flow_runs)

    def mark_dead(self) -> list[str]:
        """Mark runs of dead drivers Crashed; returns their ids."""
        now = self._clock.time()
        with self.database.opened() as db:
            drivers = [Driver(*row) for row in db.execute(self.database.sql["open_runs"], (OPEN_JSON,))]
            return [driver.run for driver in drivers if driver.gone(now) and self._end(db, driver, now)]

    def end(self, run: FlowRunRow, state: int, message: str) -> bool:
        """End a run that nobody drives; False where it has changed since it was read."""
        with self.database.opened() as db:
            return self._end(db, Driver.of(run), self._clock.time(), state, message)

    def _end(self, db: Connection, driver: Driver, now: float, state: int = CRASHED, message: str = "") -> bool:
        name, sql, message = state_name(state), self.database.sql, message or driver.message
        values = {**driver._asdict(), "id": driver.run, "now": now, "open": OPEN_JSON, "state": state}
        values |= {"state_name": name, "message": message}
        with self.database.transaction(db):
            if db.execute(sql["end_run"], values).rowcount != 1:
                return False
            db.execute(sql["add_transition"], (driver.run, -1, driver.attempt, state, name, message, now))
        return True

    def check(self) -> list[Problem]:
        """Check the records: pages, rows without an owner, unreadable blobs."""
        return check(self)

    def old_places(self, before: float) -> list[str]:
        """Return the places in the result store of blocks of the runs that `compact` would delete."""
        return places(self, old_runs(self, before))

    def compact(self, before: float | None) -> Sizes:
        """Delete runs that ended before a time (None: none) and return free space. Raises RecordsError."""
        return compact(self.database, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
