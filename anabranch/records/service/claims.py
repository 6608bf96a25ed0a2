"""Claims: what agents and drivers ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.orders import Agent, Begun, Claim, DriverProcess, Heard, Hold
    from anabranch.records.service.ledger import Ledger


class DirectClaims:
    """`Claims` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def join(self, agent: Agent) -> Agent:
        raise NotImplementedError

    def leave(self, agent: str) -> None:
        raise NotImplementedError

    def agents(self, pool: str = "") -> list[Agent]:
        raise NotImplementedError

    def claim(self, agent: str, places: int, *, wait: float = 0.0) -> list[Claim]:
        raise NotImplementedError

    def beat(self, agent: str, holds: Sequence[Hold]) -> Heard:
        raise NotImplementedError

    def begin(self, run: str, token: int, process: DriverProcess) -> Begun:
        raise NotImplementedError

    def could_not_begin(self, run: str, token: int, message: str) -> bool:
        raise NotImplementedError
