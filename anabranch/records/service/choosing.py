"""The choice of orders for agents: the pool's room is read, `core.picking` decides, the orders are theirs.

    wishes of agents --> room, first orders --> Sitting: a Picking each --> [ another look ] --> orders by wish
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import BEAT, LEASE, Agent, Claim, Order, Pool, Queue
from anabranch.core.picking import RECENT, Candidate, Room, Sitting
from anabranch.records.service.rows import all_made, made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.picking import Picking
    from anabranch.records.database import Asked
    from anabranch.records.service.ledger import Ledger

    Ask = Callable[[Sequence[Asked]], list[list[Any]]]  # statements that travel together, and the rows of each

_MORE = 16  # rows in a look beyond those wanted: some may turn out to be of a deployment that has become full
BULK = 200  # orders in one claim


class Wish(NamedTuple):
    """An agent (id) that asks for so many orders."""

    agent: str
    places: int


@dataclass(slots=True)
class Chosen:
    """What was chosen at one moment.

    Attributes:
        pool: None: it is gone.
        agents: those that asked and are known as agents of the pool, by id.
        runs: of each wish, first to last.
        asking: how many agents of the pool had places free.
    """

    pool: Pool | None
    agents: dict[str, Agent]
    runs: list[list[str]] = field(default_factory=list)
    asking: int = 1


def choose(ledger: Ledger, ask: Ask, pool: str, wishes: Sequence[Wish], likely: int, *, hold: bool) -> Chosen:
    """Choose for agents of one pool, one after another.

    Args:
        ask: within a transaction, unless it is only to be seen what a claim would find.
        likely: orders that the first look at each queue is to find.
        hold: whether nobody else is to claim of the pool until the transaction ends.
    """
    sql, now = ledger.sql, ledger.now()
    found = ask(
        [
            (sql["hold_pool" if hold else "pool"], (pool,)),
            (sql["agents_of_ids"], (json.dumps([wish.agent for wish in wishes]),)),
            (sql["queues"], (pool,)),
            (sql["waiting_deployments"], {"pool": pool}),
            (sql["held"], ()),
            (sql["there"], (pool, now - RECENT)),
            (sql["first_waiting"], {"pool": pool, "now": now, "limit": likely}),
        ]
    )
    known = [made(Agent, row) for row in found[1]]
    agents = {agent.id: agent for agent in known if agent.pool == pool}
    if not found[0]:
        return Chosen(None, agents, [[] for _ in wishes])
    row = made(Pool, found[0][0])
    chosen = Chosen(row, agents)
    room, of_agents = _room(row, *found[2:5])
    sitting = Sitting(room, of_agents, dict(found[5]))
    chosen.asking = sitting.asking
    looks = _Looks(ledger, ask, room, sitting.taken, found[6], likely, now)
    for wish in wishes:
        agent = agents.get(wish.agent)
        if agent is None:
            chosen.runs.append([])
            continue
        picking = sitting.begin(agent, min(wish.places, BULK))
        looks.serve(picking)
        chosen.runs.append([one.run for one in sitting.end(agent, picking)])
    return chosen


class _Looks:
    """Looks at orders that wait; what was read for one agent serves the next ones too."""

    def __init__(
        self, ledger: Ledger, ask: Ask, room: Room, taken: set[str], first: Sequence[Any], limit: int, now: float
    ) -> None:
        self._ledger = ledger
        self._ask = ask
        self._room = room
        self._taken = taken
        self._now = now
        self._first = _Seen.of(first, limit)
        self._seen: dict[tuple[str, str], _Seen] = {}  # by queues and deployments

    def serve(self, picking: Picking) -> None:
        """Let an agent choose until it has what it can have."""
        if picking.wanted <= 0 or not self._room.deployments:
            return
        more = self._first.show(picking, self._taken)
        while more:
            more = self._second(picking).show(picking, self._taken)

    def _second(self, picking: Picking) -> _Seen:
        """Return the first orders of what the agent can have still, enough for all that it wants."""
        queues, deployments = json.dumps([*filter(picking.open, self._room.queues)]), json.dumps(picking.deployments)
        seen = self._seen.get((queues, deployments))
        if seen is None or seen.limit < picking.wanted + len(self._taken):
            limit = picking.wanted + len(self._taken) + _MORE
            where = {"pool": self._room.pool.name, "now": self._now, "limit": limit}
            where.update(queues=queues, deployments=deployments)
            [rows] = self._ask([(self._ledger.sql["first_waiting_of"], where)])
            seen = self._seen[queues, deployments] = _Seen.of(rows, limit)
        return seen


class _Seen(NamedTuple):
    """The first orders of queues, up to `limit` of each."""

    queues: dict[str, list[Candidate]]
    limit: int

    @classmethod
    def of(cls, rows: Iterable[Any], limit: int) -> _Seen:
        queues = defaultdict(list)
        for row in rows:
            queues[row[2]].append(Candidate(*row))
        return cls(dict(queues), limit)

    def show(self, picking: Picking, taken: set[str]) -> bool:
        """Let an agent choose of these but those that are taken; returns whether it needs to see others."""
        left = {queue: [one for one in rows if one.run not in taken] for queue, rows in self.queues.items()}
        return picking.look(left, [queue for queue, rows in self.queues.items() if len(rows) >= self.limit])


def taking(ledger: Ledger, agent: Agent, runs: Sequence[str]) -> list[Asked]:
    """Return the statements that give an agent these waiting orders, in the transaction that has chosen them."""
    now = ledger.now()
    statements: list[Asked] = []
    if runs:
        what = {"agent": agent.id, "kind": agent.kind, "now": now, "until": now + LEASE, "runs": json.dumps(runs)}
        what["pool"] = agent.pool
        statements.append((ledger.sql["claim_orders"], what))
    if now - agent.seen > BEAT:
        statements.append((ledger.sql["hear_agent"], (now, agent.id)))
    return statements


def telling(ledger: Ledger, runs: Sequence[str]) -> list[Asked]:
    """Return the statements of which `told` makes claims."""
    listed = (json.dumps(runs),)
    return [(ledger.sql["orders_of_runs"], listed), (ledger.sql["deployments_of_runs"], listed)]


def told(runs: Sequence[str], rows: Sequence[list[Any]], pools: dict[str, Pool]) -> dict[str, Claim]:
    """Return what agents need to start drivers of these orders, by run; those of deleted deployments are left out."""
    orders = {row[0]: row for row in rows[0]}
    deployments = {row.id: row for row in all_made(DeploymentRow, rows[1])}
    found = {}
    for run in runs:
        order = made(Order, orders[run])
        if order.deployment in deployments:
            pool = pools.get(order.pool)
            found[run] = Claim(order, deployments[order.deployment], orders[run][-1], pool.template if pool else {})
    return found


def claims_of(ledger: Ledger, ask: Ask, runs: Sequence[str]) -> list[Claim]:
    """Return what an agent needs to start drivers of orders that it has."""
    if not runs:
        return []
    *rows, pools = ask([*telling(ledger, runs), (ledger.sql["pools"], ())])
    return [*told(runs, rows, {row[0]: made(Pool, row) for row in pools}).values()]


def _room(pool: Pool, queues: list[Any], waiting: list[Any], held: list[Any]) -> tuple[Room, Counter[str]]:
    """The room in a pool, and how many orders each agent has."""
    deployments = {
        id: DeploymentRow(id, "", "", labels=tuple(json.loads(labels)), slots=slots, paused=bool(paused))
        for id, labels, slots, paused in waiting
    }
    counts: Counter[tuple[str, str, str]] = Counter()
    of_agents: Counter[str] = Counter()
    for of, queue, deployment, agent, count in held:
        counts[of, queue, deployment] += count
        of_agents[agent] += count
    return Room(pool, {row[1]: made(Queue, row) for row in queues}, deployments, counts), of_agents
