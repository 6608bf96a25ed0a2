"""Upkeep: what heals the lost."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from anabranch.core.orders import LEASE, OrderState, Reaped
from anabranch.core.picking import RECENT, why_waiting
from anabranch.core.recovery import SILENCE
from anabranch.core.states import CANCELLED
from anabranch.records.recorder import OPEN_JSON
from anabranch.records.service import cancelling, collisions, deaths, moves, orders
from anabranch.records.service.standing import standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

logger = logging.getLogger("anabranch.services")

LATE_AFTER = 15.0  # seconds after its time that a waiting order is Late
_LONGEST_LEASE = 60.0  # seconds; one that ends later was given by a clock that has been set back since
_AT_ONCE = 500  # orders of one kind in one look; the rest follows with the next


class DirectUpkeep:
    """`Upkeep` in the database. Each order is a transaction of its own, in which it is looked at again."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def reap(self, heard_since: float = 0.0) -> Reaped:
        now, done = self._ledger.now(), Reaped()
        self._each("lost_claims", {"now": now, "longest": _LONGEST_LEASE}, self._return, done)
        silent = {"now": now, "silent": now - SILENCE, "open": OPEN_JSON}
        self._each("suspects", silent, partial(self._mend, heard_since), done)
        self._each("asked_to_end", {}, self._cancel, done)
        self._each("left_by_parents", {"cancelled": CANCELLED}, self._cancel_child, done)
        self._each("expired", {"now": now}, self._expire, done)
        self._settle(done)
        self._each("late", {"before": now - LATE_AFTER}, self._tell_late, done)
        if done.returned or done.recovered or done.crashed or done.cancelled or done.expired:
            self._ledger.bell.ring()
        return done

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        now = self._ledger.now()
        values = {"name": name, "holder": holder, "until": now + seconds, "now": now, "longest": _LONGEST_LEASE}
        with self._ledger.write() as db:
            return db.execute(self._ledger.sql["take_lease"], values).rowcount > 0

    def now(self) -> float:
        return self._ledger.now()

    def _each(
        self, query: str, where: dict[str, Any], step: Callable[[Connection, moves.Locked, Reaped], None], done: Reaped
    ) -> None:
        """Take a step for each order that a query finds, with the order locked."""
        ledger = self._ledger
        with ledger.read() as db:
            runs = [row[0] for row in db.execute(ledger.sql[query], {**where, "limit": _AT_ONCE})]
        for run in runs:
            with self._alone(f"the order of run {run}"), ledger.write() as db:
                order = moves.lock(ledger, db, run)
                if order is not None:
                    step(db, order, done)

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Let an error stop this one alone, unless it is the database that is at fault."""
        try:
            yield
        except Exception as error:
            with self._ledger.write():
                pass
            logger.warning("%s cannot be mended, and is looked at again: %s: %s", what, type(error).__name__, error)

    def _return(self, db: Connection, order: moves.Locked, done: Reaped) -> None:
        ledger, left = self._ledger, order.lease_until - self._ledger.now()
        if order.state is not OrderState.CLAIMED or 0 <= left <= _LONGEST_LEASE:
            return
        if moves.back(ledger, db, order, f"its agent said nothing for {LEASE:.0f} s, and no driver had begun"):
            done.returned.append(order.run)

    def _mend(self, heard_since: float, db: Connection, order: moves.Locked, done: Reaped) -> None:
        ledger, now = self._ledger, self._ledger.now()
        seen = db.execute(ledger.sql["seen_agent"], (order.agent,)).fetchone()
        there = seen is not None and now - seen[0] <= RECENT
        deaths.mend(ledger, db, order, done, order.phase if there else "", heard_since=heard_since)
        if order.state is not OrderState.BEGUN or order.ended or order.cancel_by is None or order.run in done.cancelled:
            return
        # Its agent is asked to kill it; where that does not help, or there is none, it is over nevertheless.
        if order.cancel_by + (LEASE if there else 0.0) < now:
            moves.end(ledger, db, order, CANCELLED, f"{order.reason}; its driver did not end, and is fenced off")
            done.cancelled.append(order.run)

    def _cancel(self, db: Connection, order: moves.Locked, done: Reaped, reason: str = "cancelled") -> None:
        if order.state is not OrderState.DONE and not order.ended and order.cancel_by is None:
            cancelling.cancel(self._ledger, db, order, reason)
            if order.state is not OrderState.BEGUN:
                done.cancelled.append(order.run)

    def _cancel_child(self, db: Connection, order: moves.Locked, done: Reaped) -> None:
        self._cancel(db, order, done, "cancelled with the flow run that ordered it")

    def _expire(self, db: Connection, order: moves.Locked, done: Reaped) -> None:
        now, after = self._ledger.now(), order.expire_after
        if order.state is OrderState.WAITING and after is not None and order.due + after < now:
            why = self._why(db, order.run)
            moves.end(self._ledger, db, order, CANCELLED, f"Expired: it waited longer than its {after:g} s; {why}")
            done.expired.append(order.run)

    def _tell_late(self, db: Connection, order: moves.Locked, done: Reaped) -> None:
        late = order.due < self._ledger.now() - LATE_AFTER and order.run_state != moves.LATE
        if order.state is OrderState.WAITING and late and not order.ended:
            moves.tell(self._ledger, db, order, moves.LATE, "Late", self._why(db, order.run))
            done.late.append(order.run)

    def _settle(self, done: Reaped) -> None:
        """Cancel what deployments' rules cancel of orders that have become due."""
        ledger = self._ledger
        with ledger.read() as db:
            crowded = db.execute(ledger.sql["crowded"], {"now": ledger.now()}).fetchall()
        for id, pool in crowded:
            with self._alone(f"what is due of deployment {id}"), ledger.write() as db:
                ledger.lock_pool(db, pool)
                done.cancelled += collisions.settle(ledger, db, id)

    def _why(self, db: Connection, run: str) -> str:
        [order] = orders.of_runs(self._ledger, db, [run])
        return why_waiting(standing(self._ledger, db, order))
