"""Models of a service, a launcher and drivers for an agent, and a network that loses, repeats and delays answers."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.agents.state import AgentState
from anabranch.agents.words import (
    Ask,
    Beat,
    Claimed,
    Discard,
    End,
    Failed,
    Join,
    Joined,
    Keep,
    Look,
    NotEnded,
    NotSent,
    NotStarted,
    Seen,
    Send,
    Sent,
    Start,
    Started,
    Tick,
    Told,
)
from anabranch.core.deployments import DeploymentRow
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.orders import Claim, Heard, Kill, Order, OrderState

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from anabranch.agents.words import Key
    from anabranch.core.orders import Hold

LEASE = 30.0
played = pytest.mark.sampled(5, "a play for each seed: each of them once in five days")
DEPLOYMENT = DeploymentRow("d", "flow", "d")


@dataclass
class Job:
    reference: Reference
    until: float
    code: int
    begun: bool = False
    ended: int | None = None
    left: bool = False  # the end of its run, in its outbox
    hangs: bool = False  # it never begins


@dataclass
class World:
    """Orders, agents and jobs at one moment.

    Attributes:
        lossy: how often an answer is lost, repeated or late.
        away: whether the service is; `back`: since when it is not.
        sure_starts: whether the launcher's answers to a start are never lost: a begun job would count as never begun.
        failing: exit codes of jobs with a run that ends nevertheless: its flow failed.
        hanging: how often a job of a first claim never begins, and runs until it is killed.
        finished: runs whose flow came to its end, once for each driver.
    """

    rng: random.Random
    lossy: float = 0.3
    away: bool = False
    back: float = 0.0
    sure_starts: bool = False
    failing: tuple[int, ...] = ()
    hanging: float = 0.0
    now: float = 0.0
    orders: dict[str, Order] = field(default_factory=dict)
    agents: dict[str, float] = field(default_factory=dict)
    jobs: dict[Key, Job] = field(default_factory=dict)
    starts: list[tuple[str, Key]] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    killed: list[tuple[Key, bool]] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    # -- the service -----------------------------------------------------------------------------

    def add(self, run: str) -> None:
        self.orders[run] = Order(run, "d")

    def join(self, agent: str) -> None:
        self.agents[agent] = self.now

    def claim(self, agent: str, places: int) -> list[Claim]:
        waiting = [order for order in self.orders.values() if order.state is OrderState.WAITING][:places]
        for order in waiting:
            order.state, order.agent, order.token = OrderState.CLAIMED, agent, order.token + 1
            order.lease_until = self.now + LEASE
        return [self._claim_of(order) for order in waiting]

    def _claim_of(self, order: Order) -> Claim:
        copy = Order(order.run, order.deployment, token=order.token, handle=order.handle, state=order.state)
        return Claim(copy, DEPLOYMENT, order.run)

    def beat(self, agent: str, holds: list[Hold]) -> Heard:
        self.agents[agent] = self.now
        heard = Heard()
        for hold in holds:
            order = self.orders[hold.run]
            open = order.state in (OrderState.CLAIMED, OrderState.BEGUN)
            if not open or order.token != hold.token:  # two agents may tell of one job
                grace = 5.0 if order.state is OrderState.DONE else 0.0
                heard.drop.append(Kill(hold.run, hold.token, grace))
                continue
            order.lease_until, order.handle = self.now + LEASE, hold.handle or order.handle
            if hold.phase in ("ended", "gone"):
                order.state = OrderState.WAITING
            elif hold.overdue and order.state is OrderState.CLAIMED:
                order.state = OrderState.WAITING
                heard.drop.append(Kill(hold.run, hold.token))
        told = {(hold.run, hold.token) for hold in holds}
        for order in self.orders.values():
            if (order.run, order.token) in told:
                continue
            gone = order.agent not in self.agents or self.now - self.agents[order.agent] > LEASE
            if order.state is OrderState.CLAIMED and order.agent == agent:
                heard.launch.append(self._claim_of(order))
            elif order.state is OrderState.BEGUN and (gone or order.agent == agent):
                order.agent = agent
                heard.adopt.append(self._claim_of(order).order)
        return heard

    def reap(self) -> None:
        if self.away:
            return
        for order in self.orders.values():
            if order.state is OrderState.CLAIMED and self.now > order.lease_until:
                order.state = OrderState.WAITING
            job = self.jobs.get((order.run, order.token))
            silent = job is not None and job.ended is not None and self.now > max(job.until, self.back) + 60.0
            if order.state is OrderState.BEGUN and silent:  # nobody knows its handle, or looks at it
                order.state = OrderState.WAITING

    # -- the jobs --------------------------------------------------------------------------------

    def start(self, agent: str, key: Key) -> Reference:
        self.starts.append((agent, key))
        if key not in self.jobs:
            reference = Reference("fake", f"{key[0]}:{key[1]}", f"{key[0]}-{key[1]}", "")
            code = self.rng.choice([0, 0, 0, 1]) if self.lossy else 0
            self.jobs[key] = Job(reference, self.now + self.rng.uniform(0.5, 20), code)
            self.jobs[key].hangs = self.hanging > 0 and key[1] == 1 and self.rng.random() < self.hanging
        return self.jobs[key].reference

    def drive(self) -> None:
        """Let time pass in the drivers."""
        for key, job in self.jobs.items():
            order = self.orders[key[0]]
            if job.ended is not None or job.hangs:
                continue
            if not job.begun and self.away:
                job.ended = 75 if self.now >= job.until else None
            elif not job.begun:
                job.begun = order.state is OrderState.CLAIMED and order.token == key[1]
                if job.begun:
                    order.state = OrderState.BEGUN
                else:
                    job.ended = 0
            elif (order.state, order.token) != (OrderState.BEGUN, key[1]):
                job.ended = 1  # fenced
            elif self.now >= job.until:
                job.ended = job.code
                if job.code in (0, *self.failing):
                    self.finished.append(key[0])
                    job.left = True
                    if not self.away:
                        self.send(key)

    def send(self, key: Key) -> None:
        """Take the end of a run from its driver's outbox into the record, unless another driver has the run."""
        job, order = self.jobs[key], self.orders[key[0]]
        if job.left and (order.state, order.token) == (OrderState.BEGUN, key[1]):
            order.state = OrderState.DONE
            self.completed.append(key[0])
        job.left = False

    def sights(self, references: Any) -> dict[Reference, Sight]:
        jobs = {job.reference: job for job in self.jobs.values()}
        seen = {}
        for one in references:
            ended = jobs[one].ended
            seen[one] = Sight(Phase.RUNNING) if ended is None else Sight(Phase.ENDED, f"exit {ended}", ended)
        return seen

    def end(self, reference: Reference, at_once: bool) -> None:
        for key, job in self.jobs.items():
            if job.reference == reference:
                self.killed.append((key, at_once))
                if job.ended is None and (at_once or self.rng.random() < 0.5):  # some do not answer SIGTERM
                    job.ended = -9 if at_once else 143

    @property
    def running(self) -> list[Key]:
        return [key for key, job in self.jobs.items() if job.ended is None]


class Player:
    """Carries out an agent's instructions in the world, through a network that loses, repeats and delays."""

    def __init__(self, world: World, name: str, capacity: int, **given: Any) -> None:
        self.world, self.name = world, name
        self.state = AgentState(capacity, **given)
        self._answers: list[tuple[float, int, Any]] = []
        self._numbers = itertools.count()
        self.asked: list[Any] = []

    def take(self, event: Any) -> None:
        for instruction in self.state.handle(event, self.world.now):
            self.asked.append(instruction)
            for delay, answer in self._carried_out(instruction):
                heapq.heappush(self._answers, (self.world.now + delay, next(self._numbers), answer))

    def step(self) -> None:
        while self._answers and self._answers[0][0] <= self.world.now:
            self.take(heapq.heappop(self._answers)[2])
        if self.state.wake() <= self.world.now:
            self.take(Tick())

    def _carried_out(self, asked: Any) -> Iterator[tuple[float, Any]]:
        world, rng = self.world, self.world.rng
        fate = rng.choice(["unsent", "lost", "twice", "late"]) if rng.random() < world.lossy else "well"
        if isinstance(asked, Start) and world.sure_starts:
            fate = "well"
        answer = None if fate == "unsent" else self._done(asked)
        if fate in ("unsent", "lost") and not isinstance(asked, Start | Send | End | Discard | Keep):
            yield rng.uniform(0, 2), Failed(type(asked))
        elif fate in ("unsent", "lost") and isinstance(asked, Send):
            yield rng.uniform(0, 2), NotSent(asked.key, away=True)
        elif fate in ("unsent", "lost") and isinstance(asked, Start):
            yield rng.uniform(0, 2), NotStarted(asked.key, "no answer")
        elif fate == "unsent" and isinstance(asked, End):
            yield rng.uniform(0, 2), NotEnded(asked.reference)
        elif answer is not None:
            delay = rng.uniform(0, 40) if fate == "late" else rng.uniform(0, 0.3)
            if fate == "late" and not isinstance(asked, Start | Send):
                yield 3.0, Failed(type(asked))
            yield delay, answer
            if fate == "twice":
                yield delay + rng.uniform(0, 10), answer

    def _done(self, asked: Any) -> Any:
        world = self.world
        if world.away and isinstance(asked, Join | Ask | Beat):
            return Failed(type(asked))
        if isinstance(asked, Ask | Beat) and self.name not in world.agents:
            return Failed(type(asked), unknown=True)
        match asked:
            case Join():
                world.join(self.name)
                return Joined()
            case Ask(places, _):
                return Claimed(world.claim(self.name, places))
            case Beat(holds):
                return Told(holds, world.beat(self.name, list(holds)))
            case Start(key, _):
                return Started(key, world.start(self.name, key))
            case Look(references):
                return Seen(world.sights(references))
            case Send(key, _):
                if world.away:
                    return NotSent(key, away=True)
                world.send(key)
                return Sent(key)
            case End(reference, at_once):
                world.end(reference, at_once)
            case Discard(reference):
                world.discarded.append(reference.name)
        return None


def play(world: World, players: list[Player], seconds: float, step: float = 0.1) -> None:
    until = world.now + seconds
    while world.now < until:
        world.now += step
        world.reap()
        world.drive()
        for one in players:
            one.step()
