"""The choice of orders for an agent: the pool's room is read, `core.picking` decides, the orders are its."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import BEAT, LEASE, Claim, Order, Pool, Queue
from anabranch.core.picking import RECENT, Candidate, Picking, Room
from anabranch.records.service.rows import made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.orders import Agent
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

_MORE = 16  # rows in a look beyond those wanted: some may turn out to be of a deployment that has become full
_BULK = 200  # orders in one claim


def choose(ledger: Ledger, db: Connection, agent: Agent, places: int, pool: Any) -> list[Candidate]:
    """Return the orders that an agent gets now, first to last, at the row of its pool (None: it is gone)."""
    if pool is None:
        return []
    sql, now = ledger.sql, ledger.now()
    room, of_agents = _room(ledger, db, made(Pool, pool))
    if not room.deployments:
        return []
    there = db.execute(sql["there"], (agent.pool, now - RECENT))
    asking = {id for id, capacity in there if of_agents[id] < capacity} | {agent.id}
    picking = Picking(agent, min(places, _BULK), room, len(asking))
    limit, more = picking.wanted + _MORE, picking.wanted > 0
    while more:
        deployments = json.dumps(picking.deployments)
        where = {"pool": agent.pool, "now": now, "deployments": deployments, "limit": limit}
        found = {}
        for queue in filter(picking.open, room.queues):
            rows = db.execute(sql["first_waiting"], {**where, "queue": queue})
            found[queue] = [Candidate(*row) for row in rows]
        more = picking.look(found, limit)
    return picking.picked


def take(ledger: Ledger, db: Connection, agent: Agent, runs: list[str]) -> list[str]:
    """Give an agent these waiting orders, within a transaction that holds their pool."""
    now = ledger.now()
    if runs:
        what = {"agent": agent.id, "kind": agent.kind, "now": now, "until": now + LEASE, "runs": json.dumps(runs)}
        db.execute(ledger.sql["claim_orders"], what)
    if now - agent.seen > BEAT:
        db.execute(ledger.sql["hear_agent"], (now, agent.id))
    return runs


def claims_of(ledger: Ledger, db: Connection, runs: Sequence[str]) -> list[Claim]:
    """Return what agents need to start drivers of these orders, those of deleted deployments left out."""
    if not runs:
        return []
    rows = {row[0]: row for row in db.execute(ledger.sql["orders_of_runs"], (json.dumps(runs),))}
    orders = {run: made(Order, rows[run]) for run in runs}
    wanted = json.dumps(sorted({order.deployment for order in orders.values()}))
    deployments = {row[0]: made(DeploymentRow, row) for row in db.execute(ledger.sql["deployments_of"], (wanted,))}
    pools = {row[0]: made(Pool, row).template for row in db.execute(ledger.sql["pools"])}
    return [
        Claim(order, deployments[order.deployment], rows[run][-1], pools.get(order.pool, {}))
        for run, order in orders.items()
        if order.deployment in deployments
    ]


def _room(ledger: Ledger, db: Connection, pool: Pool) -> tuple[Room, Counter[str]]:
    """The room in a pool, and how many orders each agent has."""
    sql = ledger.sql
    queues = {row[1]: made(Queue, row) for row in db.execute(sql["queues"], (pool.name,))}
    deployments = {
        id: DeploymentRow(id, "", "", labels=tuple(json.loads(labels)), slots=slots, paused=bool(paused))
        for id, labels, slots, paused in db.execute(sql["waiting_deployments"], {"pool": pool.name})
    }
    held: Counter[tuple[str, str, str]] = Counter()
    of_agents: Counter[str] = Counter()
    for of, queue, deployment, agent, count in db.execute(sql["held"]):
        held[of, queue, deployment] += count
        of_agents[agent] += count
    return Room(pool, queues, deployments, held), of_agents
