"""An order is cancelled: at once where no driver has begun it, else with a time in which its driver ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.orders import OrderState
from anabranch.core.states import CANCELLED
from anabranch.records.service import moves

if TYPE_CHECKING:
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

CANCEL_GRACE = 60.0  # seconds that a driver has to end a cancelled run


def cancel(ledger: Ledger, db: Connection, order: moves.Locked, reason: str, grace: float | None = None) -> None:
    """Cancel a locked order that is not done; a begun one has `grace` seconds (None: `CANCEL_GRACE`) to end itself."""
    if order.state is not OrderState.BEGUN:
        moves.end(ledger, db, order, CANCELLED, reason)
        return
    now = ledger.now()
    by = now + (CANCEL_GRACE if grace is None else grace)
    if order.cancel_by is not None:  # a second cancel may be more impatient, and never less
        by = min(by, order.cancel_by)
    else:
        db.execute(ledger.sql["ask_to_end"], (order.run, now))
        moves.tell(ledger, db, order, moves.CANCELLING, "Cancelling", reason)
    db.execute(ledger.sql["end_by"], {"by": by, "reason": reason, "run": order.run})
