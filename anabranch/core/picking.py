"""Which orders an agent gets, and why an order waits: pure functions of what is known at one moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.deployments import SERVED
from anabranch.core.orders import Agent, OrderState, Pool, Queue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.orders import Standing

RECENT = 30.0  # seconds; an agent without a word for longer counts as gone
_NAMED = 8  # names in one sentence
LENDS = "its driver waits for a run that it has ordered, and lends its slots until that has ended"


def fits(agent: Agent, labels: Iterable[str], queue: str, deployment: str) -> bool:
    """Return whether an agent may take an order with these labels, of this queue and deployment."""
    return (
        set(labels) <= set(agent.labels)
        and (not agent.queues or queue in agent.queues)
        and (not agent.deployments or deployment in agent.deployments)
    )


class Candidate(NamedTuple):
    """A waiting order that is due, as a choice sees it."""

    run: str
    deployment: str
    queue: str
    priority: int
    due: float


@dataclass(slots=True)
class Room:
    """A pool at one moment.

    Attributes:
        queues: by name; one that is missing has no limits.
        deployments: by id, all that have orders waiting in the pool.
        held: numbers of claimed and begun orders by (pool, queue, deployment), those of other pools too.
    """

    pool: Pool
    queues: Mapping[str, Queue] = field(default_factory=dict)
    deployments: Mapping[str, DeploymentRow] = field(default_factory=dict)
    held: Mapping[tuple[str, str, str], int] = field(default_factory=dict)


class Picking:
    """One choice for an agent, which may take several looks at the orders that wait.

    A look is at the first orders of each queue. Another look, where one is needed, is at those of open queues and of
    `deployments` alone: full and paused ones are left out before any limit, so that nobody starves behind them.

    Args:
        places: that the agent has free.
        asking: agents that have places free, this one among them: they share what there is.
    """

    def __init__(self, agent: Agent, places: int, room: Room, asking: int = 1) -> None:
        self._agent = agent
        self._places = places
        self._asking = max(1, asking)
        self._room = room
        self._picked: dict[str, Candidate] = {}
        self._of_queue: Counter[str] = Counter()
        self._of_deployment: Counter[str] = Counter()
        pool = room.pool
        for (of, queue, deployment), count in room.held.items():
            self._of_deployment[deployment] += count
            if of == pool.name:
                self._of_queue[queue] += count
        free = places * self._asking
        if pool.slots is not None:
            free = min(free, pool.slots - self._of_queue.total())
        self.wanted = 0 if pool.paused else max(0, free)

    @property
    def deployments(self) -> list[str]:
        """The deployments of which the agent can have orders still."""
        mine = self._agent.deployments
        return [
            id
            for id, one in self._room.deployments.items()
            if not one.paused
            and (not mine or id in mine)
            and set(one.labels) <= set(self._agent.labels)
            and (one.slots is None or self._of_deployment[id] < one.slots)
        ]

    def open(self, queue: str) -> bool:
        """Return whether the agent can have orders of this queue still."""
        if self._agent.queues and queue not in self._agent.queues:
            return False
        row = self._queue(queue)
        return not row.paused and (row.slots is None or self._of_queue[queue] < row.slots)

    def look(self, found: Mapping[str, Sequence[Candidate]], more: Collection[str]) -> bool:
        """Take from the first orders of each queue, in order; returns whether another look is needed.

        Args:
            found: by queue, each by priority, due and id; what the agent cannot have is passed over.
            more: queues that may have others behind those found.
        """
        if any(self.open(queue) and not found.get(queue) for queue in more):
            return len(self._picked) < self.wanted
        last = {queue: rows[-1].run for queue, rows in found.items() if queue in more and self.open(queue)}
        deployments = set(self.deployments)
        for one in sorted((one for rows in found.values() for one in rows), key=self._order):
            if len(self._picked) >= self.wanted:
                return False
            if one.run not in self._picked and one.deployment in deployments and self.open(one.queue):
                self._take(one)
                slots = self._room.deployments[one.deployment].slots
                if slots is not None and self._of_deployment[one.deployment] >= slots:
                    deployments.discard(one.deployment)
            if last.get(one.queue) == one.run:  # what comes behind it in its queue may go before the rest
                return len(self._picked) < self.wanted
        return False

    @property
    def picked(self) -> list[Candidate]:
        """The agent's share of what was found, first to last."""
        share = min(self._places, -(-len(self._picked) // self._asking))
        return sorted(self._picked.values(), key=self._order)[:share]

    def _take(self, one: Candidate) -> None:
        self._picked[one.run] = one
        self._of_queue[one.queue] += 1
        self._of_deployment[one.deployment] += 1

    def _order(self, one: Candidate) -> tuple[int, int, float, str]:
        return (self._queue(one.queue).priority, -one.priority, one.due, one.run)

    def _queue(self, name: str) -> Queue:
        return self._room.queues.get(name) or Queue(self._room.pool.name, name)


class Sitting:
    """Choices for several agents, one after another at one moment: each finds what the ones before it have left.

    Args:
        held: numbers of orders that agents have.
        there: agents with a recent word, and how many orders each may have.

    Attributes:
        taken: orders that have been chosen.
    """

    def __init__(self, room: Room, held: Mapping[str, int], there: Mapping[str, int]) -> None:
        self._counts = Counter(room.held)
        self._room = replace(room, held=self._counts)
        self._held = Counter(held)
        self._there = there
        self.taken: set[str] = set()

    @property
    def asking(self) -> int:
        """How many agents have places free."""
        return sum(1 for id, capacity in self._there.items() if self._held[id] < capacity)

    def begin(self, agent: Agent, places: int) -> Picking:
        """Return the choice of the next agent."""
        others = self.asking - (self._held[agent.id] < self._there.get(agent.id, 0))
        return Picking(agent, places, self._room, others + 1)

    def end(self, agent: Agent, picking: Picking) -> list[Candidate]:
        """Return what an agent gets, which is held from now on."""
        picked = picking.picked
        for one in picked:
            self._counts[self._room.pool.name, one.queue, one.deployment] += 1
            self._held[agent.id] += 1
            self.taken.add(one.run)
        return picked


# -- in words --------------------------------------------------------------------------------------


def why_waiting(standing: Standing) -> str:
    """Return in one sentence why nobody drives an order yet, or what its driver waits for; "" where nothing waits."""
    order, now = standing.order, standing.now
    if order.state is OrderState.CLAIMED:
        name = next((one.name for one in standing.agents if one.id == order.agent), order.agent)
        return f"agent {name} has it for {_span(now - order.claimed)}, and its driver has not begun" + (
            f": {order.reason}" if order.reason else ""
        )
    if order.state is OrderState.BEGUN and standing.lent:
        return LENDS
    if order.state is not OrderState.WAITING:
        return ""
    if order.due > now:
        at = datetime.fromtimestamp(order.due, UTC)
        return f"it is not due before {at:%Y-%m-%d %H:%M:%S} UTC, in {_span(order.due - now)}"
    reasons = [*_closed(standing), *_no_agent(standing)]
    return "; ".join(reasons) or "an agent takes it at its next look"


def _closed(standing: Standing) -> list[str]:
    """What is paused, full or missing, of pool, queue and deployment."""
    order, deployment, pool, queue = standing.order, standing.deployment, standing.pool, standing.queue
    if pool is None:
        return [f"there is no pool {order.pool}"]
    places = [
        (f"pool {pool.name}", pool.paused, pool.slots, standing.pool_held),
        (f"deployment {deployment.full_name}", deployment.paused, deployment.slots, standing.deployment_held),
    ]
    if queue is not None:
        places.insert(1, (f"queue {queue.name}", queue.paused, queue.slots, standing.queue_held))
    reasons = [f"{name} is paused" for name, paused, _, _ in places if paused]
    for name, _, slots, held in places:
        if slots is not None and len(held) >= slots:
            reasons.append(f"{len(held)}/{slots} slots of {name} are held" + (f" by {_few(held)}" if held else ""))
    return reasons


def _no_agent(standing: Standing) -> list[str]:
    """Why no agent of its pool takes it."""
    order, deployment, now = standing.order, standing.deployment, standing.now
    here = [one for one in standing.agents if now - one.seen <= RECENT]
    if order.pool == SERVED:
        if any(deployment.id in one.deployments for one in here):
            return _no_place([one for one in here if deployment.id in one.deployments])
        return [f"no program serves deployment {deployment.full_name}"]
    if not here:
        return [_silent(standing)]
    serving = [one for one in here if not one.queues or order.queue in one.queues]
    if not serving:
        return [f"{_agents(here)} of pool {order.pool}, and none serves queue {order.queue}"]
    serving = [one for one in serving if not one.deployments or deployment.id in one.deployments]
    if not serving:
        return [f"{_agents(here)} of pool {order.pool}, and none serves deployment {deployment.full_name}"]
    able = [one for one in serving if set(deployment.labels) <= set(one.labels)]
    if not able:
        had = {label for one in serving for label in one.labels}
        missing = [label for label in deployment.labels if label not in had]
        none = f"label {' and none label '.join(missing)}" if missing else f"all of {', '.join(deployment.labels)}"
        return [f"{_agents(serving)} of pool {order.pool}, and none has {none}"]
    return _no_place(able)


def _silent(standing: Standing) -> str:
    pool, gone = standing.order.pool, sorted(standing.agents, key=lambda one: -one.seen)
    if not gone:
        return f"no agent of pool {pool} is there"
    words = ", ".join(f"{one.name} {_span(standing.now - one.seen)} ago" for one in gone[:_NAMED])
    return f"no agent of pool {pool} is there any more; last words: {words}"


def _no_place(agents: list[Agent]) -> list[str]:
    if any(one.held < one.capacity for one in agents):
        return []
    places = sum(one.capacity for one in agents)
    return [f"{_agents(agents)} could take it, and all places ({places}) are taken"]


def _agents(agents: Sequence[Agent]) -> str:
    return "1 agent" if len(agents) == 1 else f"{len(agents)} agents"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
