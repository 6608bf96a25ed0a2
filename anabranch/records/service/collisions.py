"""What the collision rule of a deployment cancels, done in a transaction that has locked its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.collisions import collide
from anabranch.core.orders import OrderState
from anabranch.core.states import CANCELLED
from anabranch.records.service import moves
from anabranch.records.service.cancelling import cancel
from anabranch.records.service.lookups import deployment

if TYPE_CHECKING:
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger


def settle(ledger: Ledger, db: Connection, id: str) -> list[str]:
    """Cancel what the rule of a deployment cancels; returns the runs."""
    row = deployment(ledger, db, id)
    if row is None or row.collision == "enqueue" or row.slots is None:
        return []
    found = db.execute(ledger.sql["rivals"], {"deployment": id, "now": ledger.now()}).fetchall()
    held = [run for run, state, ending in found if state != OrderState.WAITING and not ending]
    ending = sum(1 for _, state, ending in found if state != OrderState.WAITING and ending)
    waiting = [run for run, state, _ in found if state == OrderState.WAITING]
    over = collide(row.collision, row.slots, held, ending, waiting)
    taken = f"all {row.slots} slots of {row.full_name} were taken"
    for run in over.waiting:
        order = moves.locked(ledger, db, run)
        if order is not None and order.state is OrderState.WAITING:
            newer = row.collision == "cancel_running"
            moves.end(ledger, db, order, CANCELLED, "a newer run took its place" if newer else taken)
    for run in over.held:
        order = moves.locked(ledger, db, run)
        if order is not None and order.state in (OrderState.CLAIMED, OrderState.BEGUN):
            cancel(ledger, db, order, "a newer run takes its place")
    return [*over.waiting, *over.held]
