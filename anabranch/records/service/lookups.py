"""Things of the service by their names, and the error that names the nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import ServiceError
from anabranch.core.nearest import meant
from anabranch.records.service.rows import made

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger


def deployment(ledger: Ledger, db: Connection, name: str) -> DeploymentRow | None:
    """Return a deployment by id or "flow/name"; a deployment's own name has no "/"."""
    flow, slash, own = name.rpartition("/")
    found = db.execute(ledger.sql["deployment_by_name"], (flow, own)).fetchone() if slash else None
    found = found or db.execute(ledger.sql["deployment_by_id"], (name,)).fetchone()
    return None if found is None else made(DeploymentRow, found)


def known_deployment(ledger: Ledger, db: Connection, name: str) -> DeploymentRow:
    """Return a deployment by id or "flow/name"; raises ServiceError, which names the nearest."""
    found = deployment(ledger, db, name)
    if found is None:
        names = [row[0] for row in db.execute(ledger.sql["deployment_names"])]
        raise unknown("deployment", name, names, "`anabranch deployment ls` lists them")
    return found


def lock_known_pool(ledger: Ledger, db: Connection, name: str) -> None:
    """Lock a pool until the transaction ends; raises ServiceError where there is none, which names the nearest."""
    if not ledger.lock_pool(db, name):
        names = [row[0] for row in db.execute(ledger.sql["pools"])]
        raise unknown("pool", name, names, f"`anabranch pool create {name}` makes it")


def unknown(kind: str, name: str, names: Iterable[str], way_out: str) -> ServiceError:
    """Return the error for a name that is not known."""
    return ServiceError(f"there is no {kind} {name!r}{meant(name, names)} ({way_out})")
