"""Upkeep: what heals the lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.core.orders import Reaped
    from anabranch.records.service.ledger import Ledger


class DirectUpkeep:
    """`Upkeep` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def reap(self) -> Reaped:
        raise NotImplementedError

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        raise NotImplementedError

    def now(self) -> float:
        return self._ledger.now()
