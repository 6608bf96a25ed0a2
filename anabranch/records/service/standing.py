"""What decides whether an order can be claimed, read at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Agent, Pool, Queue, Standing
from anabranch.records.service.lookups import deployment
from anabranch.records.service.rows import all_made

if TYPE_CHECKING:
    from anabranch.core.orders import Order
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

REMEMBERED = 86_400.0  # seconds for which an agent without a word is told of


def agents(ledger: Ledger, db: Connection, pool: str, since: float = 0.0) -> list[Agent]:
    """Return the agents of a pool ("": of all), those with a word since a time alone, with what they hold."""
    return all_made(Agent, db.execute(ledger.sql["agents"], {"pool": pool, "since": since}))


def standing(ledger: Ledger, db: Connection, order: Order) -> Standing:
    """Return how an order stands."""
    sql, now = ledger.sql, ledger.now()
    pools = all_made(Pool, db.execute(sql["pool"], (order.pool,)))
    queues = [one for one in all_made(Queue, db.execute(sql["queues"], (order.pool,))) if one.name == order.queue]
    holders = db.execute(sql["holders"], {"pool": order.pool, "deployment": order.deployment}).fetchall()
    return Standing(
        order,
        deployment(ledger, db, order.deployment) or DeploymentRow(order.deployment, "", "(deleted)"),
        pools[0] if pools else None,
        queues[0] if queues else None,
        agents(ledger, db, order.pool, now - REMEMBERED),
        [name for name, pool, _, _ in holders if pool == order.pool],
        [name for name, pool, queue, _ in holders if (pool, queue) == (order.pool, order.queue)],
        [name for name, _, _, deployment in holders if deployment == order.deployment],
        now,
        bool(db.execute(sql["lends"], (order.run,)).fetchone()[0]),
    )
