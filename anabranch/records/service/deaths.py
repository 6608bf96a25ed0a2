"""What becomes of an order with a dead driver, or a dead job: `core.recovery` decides, the order moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.orders import OrderState
from anabranch.core.recovery import Again, Alive, Facts, Over, recover, unbegun
from anabranch.core.states import CANCELLED, CRASHED, SUSPENDED
from anabranch.records.service import moves

if TYPE_CHECKING:
    from anabranch.core.orders import Hold, Reaped
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger


def mend(
    ledger: Ledger, db: Connection, order: moves.Locked, done: Reaped, phase: str, hold: Hold | None = None, *,
    heard_since: float = 0.0,
) -> None:  # fmt: skip
    """Move a locked order that is begun, if its driver is dead or its run has ended.

    A run that is Crashed in the record while its order is begun was not ended by its driver, which closes the order
    with the run: another program found the driver dead.

    Args:
        phase: of its job, by a recent word of its agent; "": none is known.
        hold: that word, where it has come just now.
        heard_since: Unix seconds from which on drivers could be heard.
    """
    if order.state is not OrderState.BEGUN:
        return
    if order.ended and order.run_state not in (SUSPENDED, CRASHED):
        moves.close(ledger, db, order)
        return
    facts = Facts(
        ledger.now(), order.begun, order.heartbeat, heard_since, phase,
        # A job that ended badly is mended by that word: one that is known to have ended has ended well.
        reason=_words(hold) if hold else "", code=hold.code if hold else 0,
        suspended=order.run_state == SUSPENDED,
        buried=(order.run_message or "its driver is gone") if order.run_state == CRASHED else "",
        recover=order.recover or "no", recoveries=order.recoveries,
    )  # fmt: skip
    found = recover(facts)
    if isinstance(found, Alive):
        return
    if order.cancel_by is not None:
        moves.end(ledger, db, order, CANCELLED, f"{order.reason}; {found.reason}" if order.reason else found.reason)
        done.cancelled.append(order.run)
    elif isinstance(found, Over):
        if order.run_state == SUSPENDED:
            moves.close(ledger, db, order)
            return
        moves.end(ledger, db, order, CRASHED, found.reason)
        done.crashed.append(order.run)
    else:
        moves.again(ledger, db, order, found.reason, found.due, order.recoveries + found.counts)
        done.recovered.append(order.run)


def bury(ledger: Ledger, db: Connection, order: moves.Locked, done: Reaped, hold: Hold) -> None:
    """Move a locked order that is claimed: no driver has begun it, and its job is over or has had its time."""
    if order.ended:  # as in `moves.back`: its end stands
        moves.close(ledger, db, order)
        return
    found = unbegun(ledger.now(), hold.phase, hold.code, _words(hold), order.launches, hold.overdue)
    if isinstance(found, Again):
        moves.back(ledger, db, order, found.reason, max(order.due, found.due))
        done.returned.append(order.run)
    elif isinstance(found, Over):
        moves.end(ledger, db, order, CRASHED, found.reason)
        done.crashed.append(order.run)


def _words(hold: Hold) -> str:
    """How a job ended, in its kind's words and with the end of its log."""
    reason = hold.reason or (f"exit {hold.code}" if hold.code is not None else "")
    if not hold.last:
        return reason
    return "\n".join([f"{reason}; its last lines:" if reason else "its last lines:", *hold.last])
