"""The service in a database, without a server between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.records.service.access import DirectKeys
from anabranch.records.service.claims import DirectClaims
from anabranch.records.service.deployments import DirectDeployments
from anabranch.records.service.ledger import Ledger
from anabranch.records.service.orders import DirectOrders
from anabranch.records.service.pools import DirectPools
from anabranch.records.service.schedules import DirectSchedules
from anabranch.records.service.upkeep import DirectUpkeep

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock
    from anabranch.core.ids import Ids
    from anabranch.core.service import Claims, Deployments, Orders, Pools, Schedules, Upkeep
    from anabranch.records.database import ServiceDatabase


class DirectService:
    """`Service` in a database with an up-to-date schema. From any thread or process.

    Args:
        clock: the time of the service; None: that of the database, the same for the programs of all hosts.
        ids: for runs, deployments and schedules without an id.

    Raises:
        RecordsError: from any call, when the database cannot be used.
    """

    def __init__(self, database: ServiceDatabase, *, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self._ledger = ledger = Ledger(database, clock=clock, ids=ids)
        self.database = database
        self.deployments: Deployments = DirectDeployments(ledger)
        self.schedules: Schedules = DirectSchedules(ledger)
        self.orders: Orders = DirectOrders(ledger)
        self._claims = DirectClaims(ledger)
        self.claims: Claims = self._claims
        self.pools: Pools = DirectPools(ledger)
        self.upkeep: Upkeep = DirectUpkeep(ledger)
        self.keys = DirectKeys(ledger)

    def faces(self) -> dict[str, Any]:
        """Return for each pool what changes with its orders and the passing of due times: agents that wait look at it.

        Queues and deployments that change raise the turn of their pool as well.
        """
        with self._ledger.read() as db:
            return {pool: face for pool, *face in db.execute(self._ledger.sql["face"], (self._ledger.now(),))}

    def pool_of(self, agent: str) -> str:
        """Return the pool of an agent (id) when it claimed last; "" where it did not."""
        return self._claims.pool_of(agent)

    def close(self) -> None:
        self._ledger.close()
