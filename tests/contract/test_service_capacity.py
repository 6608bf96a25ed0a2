"""Fault 33: 500 orders, agents and drivers that die at random: never more than slots held, none lost, none twice."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RunTakenError, ServiceError
from anabranch.core.orders import Hold, OrderState, Pool, Queue
from anabranch.core.states import COMPLETED, FAILED
from tests.contract.ordering import agent, begin, deploy, hold, order, row_of, write
from tests.contract.services import Place, place

if TYPE_CHECKING:
    from anabranch.core.orders import Claim

__all__ = ["place"]

pytestmark = pytest.mark.timeout(300)  # some thousand commits
POOL, QUEUE, DEPLOYMENT = 12, 7, 5  # slots
ORDERS, AGENTS = 500, 5


class Walk:
    """Agents with their claims, and drivers with theirs, as each believes to have them."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.random = random.Random(seed)
        self.services = [place.opened() for _ in range(2)]
        first = self.services[0]
        first.pools.put(Pool("p", slots=POOL))
        first.pools.put_queue(Queue("p", "q", slots=QUEUE))
        rows = [
            deploy(first, "slotted", pool="p", slots=DEPLOYMENT),
            deploy(first, "queued", pool="p", queue="q"),
            deploy(first, "free", pool="p", recover="restart"),
        ]
        self.deployments = {row.id: row for row in rows}
        self.runs = [run for row in rows for run in order(first, row, ORDERS // 3)]
        self.agents: dict[str, dict[str, tuple[Claim, str]]] = {}  # by name; by run: its claim and its job's phase
        self.drivers: dict[str, Claim] = {}  # by run: the one that has begun it last
        self.ended: Counter[str] = Counter()
        self.named = 0

    def step(self) -> None:
        self.random.choice(
            [self.claim, self.claim, self.claim, self.begin, self.begin, self.finish, self.finish, self.beat,
             self.die, self.kill_agent, self.lose_answer, self.reap, self.wait]
        )()  # fmt: skip

    @property
    def service(self):  # type: ignore[no-untyped-def]
        return self.random.choice(self.services)

    def one_agent(self) -> str:
        while len(self.agents) < AGENTS:
            self.named += 1
            name = f"agent-{self.named}"
            self.agents[name] = {}
            agent(self.service, name, pool="p", capacity=6, host="here")
        return self.random.choice(sorted(self.agents))

    def claim(self) -> None:
        name = self.one_agent()
        for claim in self.service.claims.claim(name, self.random.randint(1, 4)):
            self.agents[name][claim.order.run] = (claim, "pending")

    def lose_answer(self) -> None:
        self.service.claims.claim(self.one_agent(), 2)

    def begin(self) -> None:
        mine = self.agents[self.one_agent()]
        for run in self.random.sample(sorted(mine), min(2, len(mine))):
            claim, phase = mine[run]
            if phase == "pending":
                try:
                    begin(self.service, claim, claim.order.token)
                except RunTakenError:
                    continue
                mine[run] = (claim, "running")
                self.drivers[run] = claim

    def finish(self) -> None:
        """A driver ends its run, unless it is a zombie: what such a one writes is refused, as other tests show."""
        if not self.drivers:
            return
        run = self.random.choice(sorted(self.drivers))
        claim = self.drivers.pop(run)
        found = self.service.orders.find(run)
        assert found is not None
        if (found.token, found.state) != (claim.order.token, OrderState.BEGUN):
            return
        assert not self.ended[run]
        write(self.place, run, claim.order.token, self.random.choice([COMPLETED, FAILED]))
        self.ended[run] += 1

    def die(self) -> None:
        """A driver dies; its agent sees it at its next beat."""
        name = self.one_agent()
        running = [run for run, (_, phase) in self.agents[name].items() if phase == "running"]
        if running:
            run = self.random.choice(sorted(running))
            self.drivers.pop(run, None)
            self.agents[name][run] = (self.agents[name][run][0], "ended")

    def kill_agent(self) -> None:
        if self.random.random() < 0.3:
            self.agents.pop(self.one_agent())

    def beat(self) -> None:
        name = self.one_agent()
        mine = self.agents[name]
        holds = [hold(claim, phase, code=-9 if phase == "ended" else None) for claim, phase in mine.values()]
        try:
            heard = self.service.claims.beat(name, holds)
        except ServiceError:
            return
        for claim in heard.launch:
            mine[claim.order.run] = (claim, "pending")
        for kill in heard.drop:
            mine.pop(kill.run)

    def reap(self) -> None:
        self.service.upkeep.reap()

    def wait(self) -> None:
        self.place.clock.advance(self.random.choice([1, 5, 20]))

    def check(self) -> None:
        held = [one for one in self.service.orders.all(limit=200) if one.state in (1, 2)]
        assert len(held) <= POOL
        assert sum(one.queue == "q" for one in held) <= QUEUE
        by_deployment = Counter(self.deployments[one.deployment].name for one in held)
        assert by_deployment["slotted"] <= DEPLOYMENT

    def drain(self) -> None:
        """One good agent, and no more deaths: all that is open comes to an end."""
        service = self.services[0]
        agent(service, "last", pool="p", capacity=POOL, host="here")
        for _ in range(400):
            heard = service.claims.beat("last", [])
            claims = [*heard.launch, *service.claims.claim("last", POOL)]
            for claim in claims:
                self.drivers[claim.order.run] = claim
                begin(service, claim, 10_000 + claim.order.token)
            for one in heard.adopt:
                service.claims.beat("last", [Hold(one.run, one.token, "ended", code=-9)])
            while self.drivers:
                self.finish()
            self.check()
            if not service.orders.all(limit=1):
                return
            self.place.clock.advance(10)
            service.upkeep.reap()
        pytest.fail(f"still open: {[(one.run, one.state, one.reason) for one in service.orders.all()][:5]}")


@pytest.mark.sampled(5, "four hundred steps, each of which is checked")
def test_slots_are_exact_and_no_order_is_lost(place: Place) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    walk = Walk(place, seed)
    for _ in range(400):
        walk.step()
        walk.check()
    walk.drain()
    service = walk.services[0]
    for run in walk.runs:
        found = service.orders.find(run)
        assert found is not None
        assert found.state is OrderState.DONE
        row = row_of(place, run)
        assert row.ended is not None
        assert walk.ended[run] == (row.state in (COMPLETED, FAILED)), "ended by one driver, or given up"
