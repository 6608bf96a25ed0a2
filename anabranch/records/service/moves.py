"""An order moves from one state to another, with its run: each move is part of a transaction that has locked both.

Locks are taken in one order: the pool, then the order; the run's row is changed last, as the record's writer does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabranch.core.orders import OrderState
from anabranch.core.states import CANCELLED, CRASHED, SCHEDULED, StateType, code_of
from anabranch.records.views import OPEN, state_name

if TYPE_CHECKING:
    from anabranch.core.deployments import Recover
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

LATE = code_of("Late", StateType.SCHEDULED)
CANCELLING = code_of("Cancelling", StateType.CANCELLING)


@dataclass(slots=True)
class Locked:
    """An order that the transaction has locked, and its run.

    Attributes:
        recover, expire_after: of the deployment; None also where it is gone.
    """

    run: str
    pool: str
    deployment: str
    state: OrderState
    agent: str
    token: int
    lease_until: float
    due: float
    claimed: float
    begun: float
    cancel_by: float | None
    driver: str
    phase: str
    reason: str
    launches: int
    recoveries: int
    run_state: int
    run_message: str
    run_token: int
    heartbeat: float
    attempt: int
    started: float | None
    name: str
    recover: Recover | None
    expire_after: float | None

    @property
    def ended(self) -> bool:
        """Whether the record says that the run has ended."""
        return self.run_state not in OPEN

    @property
    def next_token(self) -> int:
        """A token that no driver of the run has."""
        return max(self.token, self.run_token) + 1


def lock(ledger: Ledger, db: Connection, run: str, *, turn: bool = True) -> Locked | None:
    """Lock the pool of an order, then the order, until the transaction ends; the pool of its deployment as well.

    Args:
        turn: whether agents of the pool are to look again.
    """
    pools = db.execute(ledger.sql["pools_of_order"], (run,)).fetchone()
    if pools is None:
        return None
    for pool in sorted(set(pools)) if turn else ():
        ledger.lock_pool(db, pool)
    return locked(ledger, db, run)


def locked(ledger: Ledger, db: Connection, run: str) -> Locked | None:
    """Lock an order until the transaction ends; the transaction has its pool, or will not ask for it."""
    found = db.execute(ledger.sql["lock_order"], (run,)).fetchone()
    if found is None:
        return None
    order = Locked(*found)
    order.state = OrderState(order.state)
    return order


def end(ledger: Ledger, db: Connection, order: Locked, state: int, message: str) -> None:
    """End an order and its run; a driver that may be there can write nothing of it any more."""
    token = order.next_token if order.state is OrderState.BEGUN else max(order.token, order.run_token)
    now = ledger.now()
    _move(ledger, db, order, OrderState.DONE, order.due, token, order.recoveries, message)
    values = {"run": order.run, "state": state, "state_name": state_name(state), "message": message}
    db.execute(ledger.sql["end_ordered_run"], {**values, "now": now, "token": token})
    db.execute(ledger.sql["no_cancel"], (order.run,))
    _tell(ledger, db, order, state, message, now)
    _end_called(ledger, db, order, state)


def close(ledger: Ledger, db: Connection, order: Locked) -> None:
    """Note that the run of an order has ended, as its driver has written it; its slot is free, so agents look again.

    The transaction has the order's pool.
    """
    ledger.lock_pool(db, order.pool)  # its turn goes up
    _move(ledger, db, order, OrderState.DONE, order.due, order.token, order.recoveries, order.run_message)


def back(ledger: Ledger, db: Connection, order: Locked, reason: str, due: float | None = None) -> bool:
    """Let a claim that was never begun wait again, or cancel it where its deployment is gone.

    A run that has ended nevertheless had a driver that the record forgot, as after a restore: its end stands.

    Returns:
        False where the run has ended already: its order is closed.
    """
    if order.ended:
        close(ledger, db, order)
        return False
    if order.recover is None:
        end(ledger, db, order, CANCELLED, "its deployment was deleted")
        return True
    token = max(order.token, order.run_token)
    _lock_home(ledger, db, order)
    _move(ledger, db, order, OrderState.WAITING, order.due if due is None else due, token, order.recoveries, reason)
    return True


def again(ledger: Ledger, db: Connection, order: Locked, reason: str, due: float, recoveries: int) -> None:
    """Let an order wait for another driver."""
    token = order.next_token
    _lock_home(ledger, db, order)
    _move(ledger, db, order, OrderState.WAITING, due, token, recoveries, reason)
    values = {"run": order.run, "state": SCHEDULED, "state_name": state_name(SCHEDULED), "message": reason}
    db.execute(ledger.sql["wait_ordered_run"], {**values, "token": token})
    _tell(ledger, db, order, SCHEDULED, reason, ledger.now())
    _end_called(ledger, db, order, CRASHED)


def tell(ledger: Ledger, db: Connection, order: Locked, state: int, name: str, message: str) -> None:
    """Change the state of a run that goes on."""
    values = {"run": order.run, "state": state, "state_name": name, "message": message}
    db.execute(ledger.sql["tell_ordered_run"], values)
    _tell(ledger, db, order, state, message, ledger.now(), name)


def _end_called(ledger: Ledger, db: Connection, order: Locked, state: int) -> None:
    """End the subflows that a driver had under way: nobody else would, and they stayed Running."""
    if order.state is not OrderState.BEGUN:
        return
    state, now = CANCELLED if state == CANCELLED else CRASHED, ledger.now()
    name, message = state_name(state), "its driver is gone, which drove the flow run around it"
    for run, attempt in db.execute(ledger.sql["called_runs"], (order.run,)).fetchall():
        values = {"run": run, "state": state, "state_name": name, "message": message, "now": now}
        db.execute(ledger.sql["end_called_run"], values)
        db.execute(ledger.sql["add_state"], (run, -1, attempt, state, name, message, now))


def _lock_home(ledger: Ledger, db: Connection, order: Locked) -> None:
    """Lock the pool in which an order is to wait again: a deployment that moves on takes along all that wait there."""
    held = {order.pool}
    while (home := db.execute(ledger.sql["pools_of_order"], (order.run,)).fetchone()[1]) not in held:
        ledger.lock_pool(db, home)
        held.add(home)


def _move(
    ledger: Ledger, db: Connection, order: Locked, state: OrderState, due: float, token: int, recoveries: int,
    reason: str,
) -> None:  # fmt: skip
    values = {"run": order.run, "state": int(state), "due": due, "token": token, "recoveries": recoveries}
    db.execute(ledger.sql["move_order"], {**values, "reason": reason})


def _tell(ledger: Ledger, db: Connection, order: Locked, state: int, message: str, now: float, name: str = "") -> None:
    db.execute(ledger.sql["add_state"], (order.run, -1, order.attempt, state, name or state_name(state), message, now))
