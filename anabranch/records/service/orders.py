"""Orders: how they are made, found and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.service import MOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.orders import NewOrder, Order, Ordered, Standing
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger


class DirectOrders:
    """`Orders` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, orders: Sequence[NewOrder]) -> list[Ordered]:
        with self._ledger.write() as db:
            found = insert(self._ledger, db, orders)
        self._ledger.bell.ring()
        return found

    def find(self, run: str) -> Order | None:
        raise NotImplementedError

    def all(self, *, deployment: str = "", pool: str = "", open: bool = True, limit: int = MOST) -> list[Order]:
        raise NotImplementedError

    def standing(self, run: str) -> Standing | None:
        raise NotImplementedError

    def cancel(self, run: str, *, by: str = "", grace: float | None = None) -> bool:
        raise NotImplementedError


def insert(ledger: Ledger, db: Connection, orders: Sequence[NewOrder]) -> list[Ordered]:
    """Order flow runs within a transaction that locks their pools; the caller rings the bell after its commit.

    Raises:
        ServiceError: there is no such deployment; or parameters are too large.
    """
    if orders:
        raise NotImplementedError
    return []


def cancel_waiting(ledger: Ledger, db: Connection, deployment: str, reason: str) -> list[str]:
    """Cancel the waiting orders of a deployment (id) within a transaction that locks their pools; returns run ids."""
    return []
