"""Limits in the database that all programs of a record share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.limits import Holder, Lease, Limit, Starts
from anabranch.records.shares import Now, Shares, next_starts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.core.contracts import Clock
    from anabranch.core.limits import Ask, Standing
    from anabranch.records.database import Connection, Database


class RecordLimits:
    """`LimitStore` in a database that has the schema of this anabranch. From any thread or process.

    A call that changes nothing takes no lock, so waiting programs may call often.

    Raises:
        RecordsError: from any call, when the file cannot be used.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._sql = database.sql
        self._clock = clock

    def limits(self) -> list[Limit]:
        with self._database.opened() as db:
            return self._limits(db)

    def set(self, limit: Limit) -> None:
        with self._database.opened() as db:
            db.execute(self._sql["put_limit"], (limit.name, limit.slots, limit.rate, int(limit.active)))

    def delete(self, name: str) -> bool:
        with self._database.opened() as db, self._database.transaction(db):
            db.execute(self._sql["drop_leases"], (name,))
            return db.execute(self._sql["drop_limit"], (name,)).rowcount > 0

    def leases(self, name: str) -> list[Lease]:
        with self._database.opened() as db:
            return self._shares(db).of(name)

    def acquire(self, holder: Holder, asks: Sequence[Ask]) -> list[int]:
        names = sorted({name for ask in asks for name in ask.needs})
        with self._database.opened() as db:
            shares = self._shares(db)
            found = shares.acquire(holder, asks)
            if not shares.changed and not shares.ended:
                return found
            with self._database.transaction(db):
                for name in names:
                    db.execute(self._sql["lock_limit"], (name,))
                shares = self._shares(db)
                found = shares.acquire(holder, asks)
                self._write(db, shares)
            return found

    def release(self, holder: Holder, slots: Mapping[str, int]) -> None:
        with self._database.opened() as db, self._database.transaction(db):
            for name in sorted(slots):
                db.execute(self._sql["lock_limit"], (name,))
            shares = self._shares(db)
            shares.release(holder, slots)
            self._write(db, shares)

    def leave(self, holder: Holder) -> None:
        with self._database.opened() as db:
            db.execute(self._sql["leave_leases"], (holder.token,))

    def renew(self, holder: Holder) -> None:
        with self._database.opened() as db:
            db.execute(self._sql["renew_leases"], (*self._now(), holder.token))

    def standing(self, holder: Holder) -> dict[str, Standing]:
        with self._database.opened() as db:
            return self._shares(db).standing(holder)

    def free(self, name: str, token: str = "") -> int:
        with self._database.opened() as db, self._database.transaction(db):
            db.execute(self._sql["lock_limit"], (name,))
            found = [lease for lease in self._leases(db) if lease.name == name and token in ("", lease.holder.token)]
            for lease in found:
                db.execute(self._sql["drop_lease"], (name, lease.holder.token))
        return sum(lease.slots for lease in found)

    def start(self, name: str, count: int = 1) -> Starts:
        with self._database.opened() as db, self._database.transaction(db):
            db.execute(self._sql["lock_limit"], (name,))
            found = db.execute(self._sql["next_start"], (name,)).fetchone()
            now = self._clock.time()
            if found is None or found[0] is None:
                return Starts([now] * count, now)
            rate, next_start = found
            starts, due = next_starts(rate, next_start, now, count)
            if starts.times:
                db.execute(self._sql["put_next_start"], (due, name))
        return starts

    def _now(self) -> Now:
        return Now(self._clock.time(), self._clock.monotonic())

    def _shares(self, db: Connection) -> Shares:
        return Shares(self._limits(db), self._leases(db), self._now())

    def _limits(self, db: Connection) -> list[Limit]:
        rows = db.execute(self._sql["limits"])
        return [Limit(name, slots, rate, bool(active)) for name, slots, rate, active in rows]

    def _leases(self, db: Connection) -> list[Lease]:
        return [Lease(row[0], Holder(*row[1:5]), *row[5:]) for row in db.execute(self._sql["leases"])]

    def _write(self, db: Connection, shares: Shares) -> None:
        for key in shares.ended:
            db.execute(self._sql["drop_lease"], key)
        for lease in shares.changed.values():
            mine = (lease.slots, lease.wanted, lease.unit, lease.since, lease.renewed, lease.ticks)
            db.execute(self._sql["put_lease"], (lease.name, *lease.holder, *mine))
