"""Deployments, their revisions, and projects."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from anabranch.core.deployments import DeploymentRow, ProjectRow, RevisionRow
from anabranch.core.errors import ServiceError
from anabranch.core.service import MOST
from anabranch.records.service import orders as inner_orders
from anabranch.records.service import schedules as inner_schedules
from anabranch.records.service.lookups import deployment as find_deployment
from anabranch.records.service.lookups import known_deployment, lock_known_pool, unknown
from anabranch.records.service.rows import all_made, made, to_json, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.deployments import ScheduleRow
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

_NOT_CONTENT = ("id", "revision", "content_hash", "idempotency_key", "paused", "created", "updated")


class DirectDeployments:
    """`Deployments` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def apply(
        self, deployment: DeploymentRow, schedules: Sequence[ScheduleRow] | None = None, *, by: str = "",
        always: bool = False, after: int | None = None,
    ) -> DeploymentRow:  # fmt: skip
        """Make or change one; the same idempotency key or the same document changes nothing but its schedules.

        Orders that wait go where the deployment goes: its slots are counted under the lock of one pool.
        """
        _check(deployment)
        ledger = self._ledger
        with ledger.write() as db:
            before = find_deployment(ledger, db, f"{deployment.flow}/{deployment.name}")
            for pool in sorted({deployment.pool, *(_pools(ledger, db, before) if before else ())}):
                if pool == deployment.pool:
                    lock_known_pool(ledger, db, pool)
                else:
                    ledger.lock_pool(db, pool)
            self._known_project(db, deployment.project)
            done = _applied(ledger, db, deployment, by, always, after)
            db.execute(ledger.sql["enter_queue"], (done.pool, done.queue))
            if before is not None:
                place = {"id": done.id, "pool": done.pool, "queue": done.queue, "old_queue": before.queue}
                db.execute(ledger.sql["move_waiting"], place)
            if schedules is not None:
                inner_schedules.put_all(ledger, db, done.id, schedules)
        ledger.bell.ring()
        return done

    def find(self, name: str) -> DeploymentRow | None:
        with self._ledger.read() as db:
            return find_deployment(self._ledger, db, name)

    def known(self, name: str) -> DeploymentRow:
        with self._ledger.read() as db:
            return known_deployment(self._ledger, db, name)

    def all(self, *, flow: str = "", project: str = "", after: str = "", limit: int = MOST) -> list[DeploymentRow]:
        after_flow, _, after_name = after.rpartition("/")
        page = {"after_flow": after_flow, "after_name": after_name, "limit": min(limit, MOST)}
        with self._ledger.read() as db:
            rows = db.execute(self._ledger.sql["deployments"], {"flow": flow, "project": project, **page})
            return all_made(DeploymentRow, rows)

    def pause(self, name: str, paused: bool) -> bool:
        """Pause or go on; schedules then begin at the present time, and make up for nothing."""
        ledger = self._ledger
        with ledger.write() as db:
            found = find_deployment(ledger, db, name)
            if found is None:
                return False
            for pool in _pools(ledger, db, found):
                ledger.lock_pool(db, pool)
            changed = db.execute(ledger.sql["pause_deployment"], {"id": found.id, "paused": int(paused)}).rowcount > 0
            if changed and not paused:
                db.execute(ledger.sql["begin_schedules_anew"], (ledger.now(), found.id))
        ledger.bell.ring()
        return True

    def delete(self, name: str) -> bool:
        ledger = self._ledger
        with ledger.write() as db:
            found = find_deployment(ledger, db, name)
            if found is None:
                return False
            for pool in _pools(ledger, db, found):
                ledger.lock_pool(db, pool)
            inner_orders.cancel_waiting(ledger, db, found.id, f"the deployment {found.full_name} was deleted")
            for each in ("drop_schedules", "drop_revisions"):
                db.execute(ledger.sql[each], (found.id,))
            return db.execute(ledger.sql["drop_deployment"], (found.id,)).rowcount > 0

    def revisions(self, name: str) -> list[RevisionRow]:
        with self._ledger.read() as db:
            found = find_deployment(self._ledger, db, name)
            return all_made(RevisionRow, db.execute(self._ledger.sql["revisions"], (found.id,))) if found else []

    def put_project(self, project: ProjectRow) -> None:
        if not project.name.strip():
            raise ServiceError("a project needs a name")
        with self._ledger.write() as db:
            row = replace(project, created=project.created or self._ledger.now())
            db.execute(self._ledger.sql["put_project"], values(row))

    def projects(self) -> list[ProjectRow]:
        with self._ledger.read() as db:
            return all_made(ProjectRow, db.execute(self._ledger.sql["projects"]))

    def delete_project(self, name: str) -> bool:
        """Delete a project. Raises ServiceError while deployments stand under it."""
        with self._ledger.write() as db:
            count = db.execute(self._ledger.sql["project_users"], (name,)).fetchone()[0]
            if count:
                count = f"{count} deployment{'' if count == 1 else 's'}"
                raise ServiceError(f"the project {name!r} has {count}; move or delete them first")
            return db.execute(self._ledger.sql["drop_project"], (name,)).rowcount > 0

    def _known_project(self, db: Connection, name: str) -> None:
        names = [row[0] for row in db.execute(self._ledger.sql["projects"])] if name else []
        if name and name not in names:
            raise unknown("project", name, names, f"`anabranch project create {name}` makes it")


def _applied(
    ledger: Ledger, db: Connection, wanted: DeploymentRow, by: str, always: bool, after: int | None
) -> DeploymentRow:  # fmt: skip
    """Return a deployment as it stands after this."""
    now = ledger.now()
    content = wanted.content_hash or digest(wanted)
    new = replace(
        wanted, id=wanted.id or ledger.ids.new(), revision=1, content_hash=content, created=now, updated=now
    )  # fmt: skip
    if db.execute(ledger.sql["enter_deployment"], values(new)).rowcount == 0:
        old = made(DeploymentRow, db.execute(ledger.sql["lock_deployment"], (new.flow, new.name)).fetchone())
        key = new.idempotency_key
        changed = key != old.idempotency_key if key else content != old.content_hash
        made_since = after is not None and old.revision > after
        if not changed and (made_since or not always):
            return old
        new = replace(
            new, id=old.id, revision=old.revision + 1, created=old.created, paused=old.paused or wanted.paused
        )  # fmt: skip
        db.execute(ledger.sql["change_deployment"], (*values(new), old.id))
    db.execute(ledger.sql["add_revision"], (new.id, new.revision, to_json(new.document), by, now))
    return new


def digest(deployment: DeploymentRow) -> str:
    """Return the hash of all that a revision is about."""
    content = {name: value for name, value in asdict(deployment).items() if name not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _pools(ledger: Ledger, db: Connection, deployment: DeploymentRow) -> list[str]:
    """Return the pools to lock before orders of a deployment change, in the order of locks."""
    waiting = db.execute(ledger.sql["waiting_pools"], (deployment.id,))
    return sorted({deployment.pool, *(row[0] for row in waiting)})


def _check(deployment: DeploymentRow) -> None:
    for kind, name in (("flow", deployment.flow), ("deployment", deployment.name)):
        if not name.strip():
            raise ServiceError(f"a deployment needs the name of its {kind}")
    if "/" in deployment.name:
        raise ServiceError(
            f"the deployment {deployment.name!r} of {deployment.flow!r} has a / in its name: leave it out"
        )
    if deployment.expire_after is not None and not math.isfinite(deployment.expire_after):
        raise ServiceError(f"expire_after of the deployment {deployment.full_name} must be finite seconds, or none")
    if deployment.slots is not None and deployment.slots < 1:
        raise ServiceError(f"slots of the deployment {deployment.full_name} must be 1 or more, or none")
