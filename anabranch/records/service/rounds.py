"""Rounds of claims: agents of one pool that ask at the same time are served in one transaction of two round trips."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from anabranch.records.service import choosing
from anabranch.records.service.choosing import BULK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.orders import Claim
    from anabranch.records.database import Asked
    from anabranch.records.service.choosing import Chosen, Wish
    from anabranch.records.service.ledger import Ledger

_MOST = 500  # orders of a queue that the first look finds; a choice that wants more takes another
_SPARE = 16  # orders that the first look finds beyond those that are likely to be wanted


class Rounds:
    """The rounds of one pool, one at a time.

    The answer to a claim travels with its commit. Where it is lost the orders are the agent's all the same, and its
    next beat tells of them.
    """

    def __init__(self, ledger: Ledger, pool: str) -> None:
        self._ledger = ledger
        self._pool = pool
        self._asking = 1  # agents that asked at the last round: each look is for the share of one

    def __call__(self, wishes: Sequence[Wish]) -> list[list[Claim] | None]:
        """Return what each agent has claimed; None for one that is not, or no longer, an agent of the pool."""
        ledger, places = self._ledger, [min(wish.places, BULK) for wish in wishes]
        likely = min(_MOST, max(places) * self._asking + sum(places) + _SPARE)
        with ledger.exchange() as exchange:
            chosen = choosing.choose(ledger, exchange.ask, self._pool, wishes, likely, hold=True)
            runs = [*chain.from_iterable(chosen.runs)]
            telling = choosing.telling(ledger, runs) if runs else []
            rows = exchange.end([*self._taking(wishes, chosen), *telling])
        self._asking = chosen.asking
        pools = {self._pool: chosen.pool} if chosen.pool else {}
        claims = choosing.told(runs, rows[-len(telling) :], pools) if runs else {}
        return [
            [claims[run] for run in mine if run in claims and claims[run].order.agent == wish.agent]
            if wish.agent in chosen.agents
            else None
            for wish, mine in zip(wishes, chosen.runs, strict=True)
        ]

    def _taking(self, wishes: Sequence[Wish], chosen: Chosen) -> list[Asked]:
        statements: list[Asked] = []
        for wish, runs in zip(wishes, chosen.runs, strict=True):
            if wish.agent in chosen.agents:
                statements += choosing.taking(self._ledger, chosen.agents[wish.agent], runs)
        return statements
