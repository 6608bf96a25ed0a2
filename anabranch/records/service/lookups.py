"""Things of the service by their names, and the error that names the nearest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import ServiceError
from anabranch.core.nearest import meant
from anabranch.records.service.rows import all_made, made

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


def deployments(ledger: Ledger, db: Connection, names: Iterable[str]) -> dict[str, DeploymentRow]:
    """Return deployments by what each is called, an id or "flow/name"; all ids are one look."""
    names = set(names)
    ids = [name for name in names if "/" not in name]
    rows = db.execute(ledger.sql["deployments_of_ids"], (json.dumps(ids),)) if ids else ()
    found: dict[str, DeploymentRow] = {row.id: row for row in all_made(DeploymentRow, rows)}
    for name in names.difference(ids):
        if (row := deployment(ledger, db, name)) is not None:
            found[name] = row
    return found


def known_deployments(ledger: Ledger, db: Connection, names: Iterable[str]) -> dict[str, DeploymentRow]:
    """Return all of these deployments, as `deployments` does; raises ServiceError for one that is not known."""
    names = sorted(set(names))
    found = deployments(ledger, db, names)
    for name in names:
        if name not in found:
            found[name] = known_deployment(ledger, db, name)
    return found


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
