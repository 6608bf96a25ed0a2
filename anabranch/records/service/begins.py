"""A driver begins an order, once: nobody else with the same claim, and nobody with an earlier one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import RunTakenError
from anabranch.core.orders import Begun, OrderState
from anabranch.records.service import moves, orders
from anabranch.records.service.lookups import deployment

if TYPE_CHECKING:
    from anabranch.core.orders import DriverProcess
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger


def begin(ledger: Ledger, db: Connection, run: str, token: int, process: DriverProcess) -> Begun:
    """Begin an order within a transaction.

    Raises:
        RunTakenError: another driver began it, the token is not that of its claim, or the run has ended.
    """
    order = moves.locked(ledger, db, run)
    driver = f"{process.host}/{process.pid}/{process.pid_started}/{process.incarnation}"
    refused = _refused(order, run, token, driver)
    if order is None or refused:
        raise RunTakenError(refused)
    if order.state is OrderState.CLAIMED:
        now = ledger.now()
        db.execute(ledger.sql["begin_order"], {"now": now, "driver": driver, "run": run, "token": token})
        who = {"pid": process.pid, "pid_started": process.pid_started, "host": process.host}
        values = {**who, "incarnation": process.incarnation, "now": now, "token": token, "run": run}
        db.execute(ledger.sql["begin_run"], values)
        db.execute(ledger.sql["no_cancel"], (run,))  # the request was meant for an earlier driver
    [found] = orders.of_runs(ledger, db, [run])
    tags = tuple(json.loads(db.execute(ledger.sql["tags_of_run"], (run,)).fetchone()[0]))
    row = deployment(ledger, db, order.deployment) or DeploymentRow(order.deployment, "", "")
    return Begun(found, row, order.name, tags, order.attempt, order.started is not None)


def _refused(order: moves.Locked | None, run: str, token: int, driver: str) -> str:
    """Return why a driver may not begin a run; "" where it may."""
    if order is None:
        return f"there is no order of run {run!r} in the records"
    if order.state is OrderState.DONE or order.ended:
        return f"run {run} has ended: {order.reason or order.run_message or 'there is nothing to begin'}"
    if token != order.token:
        return f"run {run} was claimed again since: this driver has token {token}, and the claim has {order.token}"
    if order.state is OrderState.WAITING:
        return f"the claim of run {run} is over ({order.reason}): it waits for an agent again"
    if order.recover is None:
        return f"the deployment of run {run} was deleted"
    if order.state is OrderState.BEGUN and order.driver != driver:
        return f"run {run} has a driver: process {order.driver} began it with the same token"
    return ""
