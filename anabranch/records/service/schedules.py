"""Schedules, and the one transaction that turns their ticks into orders."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.core.deployments import ScheduleRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import Tick
from anabranch.core.service import MOST
from anabranch.records.service import orders as inner_orders
from anabranch.records.service.lookups import deployment as find_deployment
from anabranch.records.service.lookups import deployments as find_deployments
from anabranch.records.service.lookups import known_deployment
from anabranch.records.service.rows import all_made, made, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.orders import NewOrder
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger


class DirectSchedules:
    """`Schedules` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self, deployment: str = "") -> list[ScheduleRow]:
        with self._ledger.read() as db:
            found = find_deployment(self._ledger, db, deployment) if deployment else None
            if deployment and found is None:
                return []
            values = {"deployment": found.id if found else ""}
            return all_made(ScheduleRow, db.execute(self._ledger.sql["schedules"], values))

    def put(self, schedule: ScheduleRow) -> ScheduleRow:
        with self._ledger.write() as db:
            found = known_deployment(self._ledger, db, schedule.deployment)
            return put(self._ledger, db, replace(schedule, deployment=found.id))

    def set_active(self, deployment: str, slug: str, active: bool | None) -> bool:
        with self._ledger.write() as db:
            found = self._found(db, deployment, slug)
            if found is None:
                return False
            _change(self._ledger, db, found, replace(found, user_active=active))
            return True

    def delete(self, deployment: str, slug: str) -> bool:
        with self._ledger.write() as db:
            found = find_deployment(self._ledger, db, deployment)
            where = (found.id if found else deployment, slug)
            return db.execute(self._ledger.sql["drop_schedule"], where).rowcount > 0

    def due(self, before: float, limit: int = MOST) -> list[ScheduleRow]:
        with self._ledger.read() as db:
            return all_made(ScheduleRow, db.execute(self._ledger.sql["due_schedules"], (before, min(limit, MOST))))

    def tick(self, schedule: ScheduleRow, cursor: float, next_tick: float | None, orders: Sequence[NewOrder]) -> bool:
        return self.tick_all([Tick(schedule, cursor, next_tick, list(orders))])[0]

    def tick_all(self, ticks: Sequence[Tick]) -> list[bool]:
        """Order and move on; False as well where schedule or deployment is paused now."""
        ledger = self._ledger
        with ledger.read() as db:  # where another scheduler was quicker, no lock is taken
            if not _standing(ledger, db, ticks, "schedules_of_ids", _deployments(ledger, db, ticks)):
                return [False] * len(ticks)
        with ledger.write() as db:
            pools = {found.pool for found in _deployments(ledger, db, ticks).values()}
            locked = {pool for pool in sorted(pools) if ledger.lock_pool(db, pool)}
            deployments = {id: found for id, found in _deployments(ledger, db, ticks).items() if found.pool in locked}
            standing = _standing(ledger, db, ticks, "lock_schedules", deployments)
            done = [one for one in ticks if one.schedule.id in standing]
            ledger.database.many(
                db, ledger.sql["ticked"], [(one.cursor, one.next_tick, one.schedule.id) for one in done]
            )
            orders = [replace(order, schedule=one.schedule.id) for one in done for order in one.orders]
            if all(order.deployment in deployments for order in orders):
                inner_orders.insert_known(ledger, db, orders, deployments)
            else:
                inner_orders.insert(ledger, db, orders)
        ledger.bell.ring()
        return [one.schedule.id in standing for one in ticks]

    def _found(self, db: Connection, deployment: str, slug: str) -> ScheduleRow | None:
        found = find_deployment(self._ledger, db, deployment)
        row = db.execute(self._ledger.sql["lock_named_schedule"], (found.id, slug)).fetchone() if found else None
        return None if row is None else made(ScheduleRow, row)


def _deployments(ledger: Ledger, db: Connection, ticks: Sequence[Tick]) -> dict[str, DeploymentRow]:
    """Return the deployments that are not paused, by id."""
    found = find_deployments(ledger, db, {one.schedule.deployment for one in ticks})
    return {id: row for id, row in found.items() if not row.paused}


def _standing(
    ledger: Ledger, db: Connection, ticks: Sequence[Tick], query: str, deployments: dict[str, DeploymentRow]
) -> set[str]:
    """Return the ids of schedules that stand as they were read; a tick of another is to order nothing."""
    read = {one.schedule.id: one.schedule for one in ticks}
    rows = all_made(ScheduleRow, db.execute(ledger.sql[query], (json.dumps(list(read)),)))
    return {
        row.id
        for row in rows
        if row.active and row.deployment in deployments
        and (row.spec, row.cursor) == (read[row.id].spec, read[row.id].cursor)
    }  # fmt: skip


def put(ledger: Ledger, db: Connection, schedule: ScheduleRow) -> ScheduleRow:
    """Add or change a schedule of a deployment (id) within a transaction.

    A new one, and one with a changed spec, begins at the present time, with the next tick that it comes with. Another
    keeps its place, and what a person has set.
    """
    if not schedule.slug:
        raise ServiceError("a schedule needs a slug, by which its deployment tells it from others")
    new = replace(schedule, id=schedule.id or ledger.ids.new(), cursor=ledger.now())
    if db.execute(ledger.sql["enter_schedule"], values(new)).rowcount > 0:
        return new
    row = db.execute(ledger.sql["lock_named_schedule"], (schedule.deployment, schedule.slug)).fetchone()
    old = made(ScheduleRow, row)
    word = old.user_active if schedule.user_active is None else schedule.user_active
    changed = replace(new, id=old.id, user_active=word)
    if changed.spec == old.spec:
        changed = replace(changed, cursor=old.cursor, next_tick=old.next_tick)
    return _change(ledger, db, old, changed)


def put_all(ledger: Ledger, db: Connection, deployment: str, schedules: Sequence[ScheduleRow]) -> None:
    """Make these the schedules of a deployment (id), within a transaction."""
    slugs = {schedule.slug for schedule in schedules}
    for row in db.execute(ledger.sql["schedules"], {"deployment": deployment}).fetchall():
        if (slug := made(ScheduleRow, row).slug) not in slugs:
            db.execute(ledger.sql["drop_schedule"], (deployment, slug))
    for schedule in schedules:
        put(ledger, db, replace(schedule, deployment=deployment))


def _change(ledger: Ledger, db: Connection, old: ScheduleRow, new: ScheduleRow) -> ScheduleRow:
    """Write a schedule; one that goes on after a pause does not make up for what it missed."""
    if new.active and not old.active:
        new = replace(new, cursor=max(new.cursor, ledger.now()))
    db.execute(ledger.sql["change_schedule"], (*values(new), old.id))
    return new
