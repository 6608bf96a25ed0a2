"""What any service does for agents and drivers: one agent an order, one driver a claim, no answer is lost for good."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import RunTakenError, ServiceError
from anabranch.core.orders import LEASE, Agent, Kill, NewOrder, OrderState, Pool, Queue
from anabranch.core.picking import RECENT
from tests.contract.ordering import agent, begin, begun, deploy, hold, order, process, row_of, states, write
from tests.contract.services import NOW, Place, place, service

if TYPE_CHECKING:
    from anabranch.core.orders import Order
    from anabranch.core.service import Service

__all__ = ["place", "service"]

LONG = 60.0  # seconds that a test waits for what comes at once


def found(service: Service, run: str) -> Order:
    one = service.orders.find(run)
    assert one is not None
    return one


def claimed(service: Service, name: str = "one", places: int = 100) -> list[str]:
    return [claim.order.run for claim in service.claims.claim(name, places)]


# -- agents ----------------------------------------------------------------------------------------


def test_agents_join_speak_and_leave(service: Service, place: Place) -> None:
    service.pools.put(Pool("gpu"))
    joined = service.claims.join(Agent("", "one", "gpu", labels=("big",), capacity=4))
    assert joined.id
    assert (joined.seen, service.claims.agents("gpu")) == (NOW, [joined])
    assert service.claims.agents("default") == []
    place.clock.advance(3)
    assert service.claims.join(Agent(joined.id, "one", "gpu")).seen == NOW + 3
    assert [one.labels for one in service.claims.agents()] == [()]
    service.claims.leave(joined.id)
    service.claims.leave(joined.id)
    assert service.claims.agents() == []
    with pytest.raises(ServiceError, match="no pool 'gpus'; did you mean 'gpu'"):
        service.claims.join(Agent("", "two", "gpus"))
    with pytest.raises(ServiceError, match=f"agent {joined.id} is not known: it joins again"):
        service.claims.claim(joined.id, 1)
    with pytest.raises(ServiceError, match="not known"):
        service.claims.beat(joined.id, [])


def test_a_claim_has_what_a_driver_needs(service: Service, place: Place) -> None:
    service.pools.put(Pool("gpu", "slurm", {"partition": "long"}))
    row = deploy(service, pool="gpu", labels=("big",), document={"entry": "flows.py:f", "parameters": {"a": 1}})
    run = service.orders.add([NewOrder(row.id, name="bold-yak", job={"nodes": 2}, parameters={"b": 2})])[0].run
    agent(service, pool="gpu", labels=("big", "more"), kind="slurm")
    [claim] = service.claims.claim("one", 3)
    assert (claim.run_name, claim.template, claim.deployment) == ("bold-yak", {"partition": "long"}, row)
    mine = claim.order
    assert (mine.run, mine.job, mine.parameters) == (run, {"nodes": 2}, {"a": 1, "b": 2})
    assert (mine.state, mine.agent, mine.kind, mine.token, mine.launches) == (OrderState.CLAIMED, "one", "slurm", 1, 1)
    assert (mine.lease_until, mine.claimed) == (NOW + LEASE, NOW)
    assert [one.held for one in service.claims.agents("gpu")] == [1]
    assert service.claims.claim("one", 3) == []
    assert service.claims.claim("one", 0) == []


# -- which orders ------------------------------------------------------------------------------------


def test_orders_come_by_queue_then_priority_then_due(service: Service) -> None:
    service.pools.put_queue(Queue("default", "urgent", 0))
    row, urgent = deploy(service), deploy(service, "other", queue="urgent")
    early, late = order(service, row, 2)
    high = order(service, row, priority=5)[0]
    first = order(service, urgent, due=NOW)[0]
    moved = order(service, row, queue="urgent", priority=1)[0]
    order(service, row, due=NOW + 1)
    agent(service)
    assert claimed(service) == [moved, first, high, early, late]


def test_an_order_is_claimed_once_it_is_due(service: Service, place: Place) -> None:
    run = order(service, deploy(service), due=NOW + 60)[0]
    agent(service)
    assert claimed(service) == []
    place.clock.advance(60)
    assert claimed(service) == [run]


def test_twenty_agents_and_one_order(place: Place) -> None:
    """Fault 26, with a service of its own for each agent."""
    first = place.opened()
    run = order(first, deploy(first))[0]
    services = [place.opened() for _ in range(20)]
    gate = threading.Barrier(20)
    for n, one in enumerate(services):
        agent(one, f"agent-{n}")

    def ask(n: int) -> list[str]:
        gate.wait(LONG)
        return claimed(services[n], f"agent-{n}")

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(20)))
    assert sorted(answers) == [[]] * 19 + [[run]]
    assert found(first, run).launches == 1


def test_slots_of_pool_queue_and_deployment_bind_and_come_back(service: Service, place: Place) -> None:
    service.pools.put(Pool("p", slots=4))
    service.pools.put_queue(Queue("p", "q", slots=3))
    deploy(service, pool="p", queue="q", slots=2)
    deploy(service, "other", pool="p", queue="q")
    deploy(service, "third", pool="p")
    mine, others, thirds = (
        order(service, f"f/{name}", 9, due=NOW - 9 + n) for n, name in enumerate(("daily", "other", "third"))
    )
    agent(service, pool="p")
    first = service.claims.claim("one", 100)
    assert {claim.order.run for claim in first} == {mine[0], mine[1], others[0], thirds[0]}
    assert claimed(service) == []
    [claim] = [one for one in first if one.order.run == mine[0]]
    begin(service, claim)
    assert claimed(service) == [], "a begun one holds its slots"
    write(place, mine[0], claim.order.token)
    assert claimed(service) == [mine[2]]
    service.pools.put(Pool("p", slots=1))
    service.orders.cancel(mine[2])
    assert claimed(service) == [], "a limit that was lowered binds at once"


def test_nobody_starves_behind_a_full_deployment(service: Service) -> None:
    """Fault 36."""
    order(service, deploy(service, slots=1), 300)
    run = order(service, deploy(service, "other"), due=NOW)[0]
    agent(service)
    assert len(claimed(service, places=1)) == 1
    assert claimed(service, places=1) == [run]


def test_labels_that_change_while_an_order_waits(service: Service) -> None:
    """Fault 34: of the deployment, and of the agent."""
    deploy(service, labels=("gpuu",))
    first, second = order(service, "f/daily", 2)
    agent(service, labels=("gpu",))
    assert claimed(service) == []
    deploy(service, labels=("gpu",))
    assert found(service, first).labels == ("gpu",)
    assert claimed(service, places=1) == [first]
    agent(service, labels=("big",))
    assert claimed(service) == []
    agent(service, labels=("big", "gpu"))
    assert claimed(service) == [second]


def test_paused_pools_queues_and_deployments_wait(service: Service) -> None:
    row = deploy(service)
    run = order(service, row)[0]
    agent(service)
    for pause in (
        lambda on: service.pools.put(Pool("default", paused=on)),
        lambda on: service.pools.put_queue(Queue("default", paused=on)),
        lambda on: service.deployments.pause(row.id, on),
    ):
        pause(True)
        assert claimed(service) == []
        pause(False)
    assert claimed(service) == [run]


def test_agents_take_of_their_queues_and_deployments_alone(service: Service) -> None:
    mine, theirs = deploy(service), deploy(service, "other", queue="q")
    first, second = order(service, mine)[0], order(service, theirs)[0]
    agent(service, "one", queues=("q",))
    agent(service, "two", deployments=(mine.id,))
    assert claimed(service, "one") == [second]
    assert claimed(service, "two") == [first]


def test_agents_that_have_places_free_share(service: Service) -> None:
    order(service, deploy(service), 10)
    agent(service, "one")
    agent(service, "two")
    assert len(claimed(service, "one")) == 5
    assert len(claimed(service, "two")) == 3


def test_an_agent_that_waits_is_woken(place: Place) -> None:
    """By an order of the same process, and by one that another process makes."""
    mine, other = place.opened(), place.opened()
    row = deploy(mine)
    agent(mine)
    for maker in (mine, other):
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(lambda: mine.claims.claim("one", 1, wait=LONG))
            run = order(maker, row)[0]
            assert [claim.order.run for claim in waiting.result(LONG)] == [run]
    assert mine.claims.claim("one", 1, wait=0.01) == []


# -- beats -------------------------------------------------------------------------------------------


def test_a_lost_answer_of_a_claim_comes_with_the_next_beat(service: Service, place: Place) -> None:
    """Fault 27."""
    run = order(service, deploy(service))[0]
    agent(service)
    claimed(service)  # nobody heard the answer
    place.clock.advance(5)
    heard = service.claims.beat("one", [])
    assert [claim.order.run for claim in heard.launch] == [run]
    assert heard.launch[0].order.lease_until == NOW + 5 + LEASE
    assert (heard.drop, heard.kill, heard.adopt) == ([], [], [])
    again = service.claims.beat("one", [hold(heard.launch[0], "pending", handle="job 7", reason="no node is free")])
    assert again.launch == []
    mine = found(service, run)
    assert (mine.handle, mine.reason, mine.launches) == ("job 7", "no node is free", 1)


def test_a_beat_renews_and_silence_gives_the_order_back(service: Service, place: Place) -> None:
    run = order(service, deploy(service))[0]
    agent(service)
    [claim] = service.claims.claim("one", 1)
    for _ in range(3):
        place.clock.advance(LEASE - 1)
        assert service.claims.beat("one", [hold(claim, "pending")]).drop == []
        assert service.upkeep.reap().returned == []
    place.clock.advance(LEASE + 1)
    assert service.upkeep.reap().returned == [run]
    assert service.upkeep.reap().returned == []
    mine = found(service, run)
    assert (mine.state, mine.reason) == (OrderState.WAITING, "its agent said nothing for 30 s, and no driver had begun")
    agent(service, "two")
    [second] = service.claims.claim("two", 1)
    assert (second.order.run, second.order.token) == (run, claim.order.token + 1)
    # Fault 32: the first agent wakes; its job is ended, and cannot begin.
    assert service.claims.beat("one", [hold(claim, "running")]).drop == [Kill(run, claim.order.token)]
    with pytest.raises(RunTakenError):
        begin(service, claim)
    begin(service, second)


def test_what_an_agent_has_not_begun_waits_again_when_it_leaves(service: Service, place: Place) -> None:
    deploy(service)
    first, second = order(service, "f/daily", 2)
    agent(service)
    one, _ = service.claims.claim("one", 2)
    begin(service, one)
    service.claims.leave("one")
    assert found(service, first).state is OrderState.BEGUN
    assert found(service, second).state is OrderState.WAITING
    assert found(service, second).reason == "agent one left before its driver began"


def test_begun_orders_of_a_lost_agent_are_adopted(service: Service, place: Place) -> None:
    claim = begun(service, place)
    run = claim.order.run
    service.claims.beat("one", [hold(claim, "running", handle="job 7")])
    agent(service, "elsewhere", host="there")
    agent(service, "other kind", kind="slurm")
    agent(service, "heir", host="here")
    assert service.claims.beat("heir", []).adopt == [], "its agent spoke a moment ago"
    place.clock.advance(RECENT + 1)
    assert service.claims.beat("elsewhere", []).adopt == [], "it cannot see a process of another machine"
    assert service.claims.beat("other kind", []).adopt == []
    [adopted] = service.claims.beat("heir", []).adopt
    assert (adopted.run, adopted.token, adopted.handle, adopted.agent) == (run, claim.order.token, "job 7", "heir")
    # The first agent was only silent: the job is not ended for that, and the heir has it still.
    back = service.claims.beat("one", [hold(claim, "running")])
    assert (back.drop, back.adopt, back.launch) == ([], [], [])
    assert found(service, run).agent == "heir"


def test_an_agent_that_has_forgotten_a_driver_is_told_of_it(service: Service, place: Place) -> None:
    claim = begun(service, place)
    assert [one.run for one in service.claims.beat("one", []).adopt] == [claim.order.run]
    assert service.claims.beat("one", [hold(claim, "running")]).adopt == []


@pytest.mark.parametrize(
    ("ended", "state", "reason"),
    [
        ({"phase": "ended", "code": 127, "last": ("sh: not found",)}, "Crashed", "exit 127; its last lines:"),
        ({"phase": "ended", "code": 1, "reason": "ImagePullBackOff"}, "Crashed", "its flow began: ImagePullBackOff"),
        ({"phase": "gone", "reason": "its node went away"}, "Scheduled", "its node went away"),
        ({"phase": "ended", "reason": "it was preempted"}, "Scheduled", "it was preempted"),
    ],
)
def test_a_job_that_is_over_before_its_flow_began(
    service: Service, place: Place, ended: dict[str, Any], state: str, reason: str
) -> None:
    run = order(service, deploy(service))[0]
    agent(service)
    [claim] = service.claims.claim("one", 1)
    heard = service.claims.beat("one", [hold(claim, **ended)])
    assert heard.drop == [Kill(run, claim.order.token)]
    assert row_of(place, run).state_name == state
    assert reason in found(service, run).reason
    if state == "Crashed":
        assert reason in row_of(place, run).message
        return
    for _ in range(2):  # elsewhere it may begin, three times in all
        place.clock.advance(60)
        [claim] = service.claims.claim("one", 1)
        service.claims.beat("one", [hold(claim, **ended)])
    assert row_of(place, run).state_name == "Crashed"
    assert "gave up after 3 launches" in row_of(place, run).message


# -- begin -------------------------------------------------------------------------------------------


def test_one_driver_begins_and_may_ask_again(service: Service, place: Place) -> None:
    deploy(service, tags=("a",))
    run = order(service, "f/daily")[0]
    agent(service)
    [claim] = service.claims.claim("one", 1)
    first = begin(service, claim, 7)
    assert (first.order.state, first.run_name, first.tags) == (OrderState.BEGUN, claim.run_name, ("a",))
    assert (first.attempt, first.again) == (0, False)
    row = row_of(place, run)
    assert (row.token, row.pid, row.host, row.heartbeat) == (claim.order.token, 7, "here", NOW)
    assert begin(service, claim, 7).order == first.order
    with pytest.raises(RunTakenError, match="has a driver"):
        begin(service, claim, 8)
    place.clock.advance(LEASE + 1)
    assert service.upkeep.reap().returned == [], "a begun order has no lease"
    write(place, run, claim.order.token)
    assert found(service, run).state is OrderState.DONE
    with pytest.raises(RunTakenError, match="has ended"):
        begin(service, claim, 7)
    with pytest.raises(RunTakenError, match="no order"):
        service.claims.begin("nothing", 1, process())
    [ending] = service.claims.beat("one", [hold(claim, "running")]).drop
    assert (ending.run, ending.token) == (run, claim.order.token)
    assert ending.grace > 5, "it has ended its run, and ends now"


def test_two_jobs_of_one_claim_and_one_begins(place: Place) -> None:
    """Fault 30: a job that was launched twice."""
    first = place.opened()
    order(first, deploy(first))
    agent(first)
    [claim] = first.claims.claim("one", 1)
    services = [place.opened() for _ in range(8)]
    gate = threading.Barrier(8)

    def ask(n: int) -> bool:
        gate.wait(LONG)
        try:
            begin(services[n], claim, n + 1)
        except RunTakenError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 1


def test_an_old_token_begins_nothing(service: Service, place: Place) -> None:
    """Fault 31."""
    order(service, deploy(service))
    agent(service)
    [old] = service.claims.claim("one", 1)
    place.clock.advance(LEASE + 1)
    service.upkeep.reap()
    with pytest.raises(RunTakenError, match=r"the claim of run .* is over"):
        begin(service, old)
    [new] = service.claims.claim("one", 1)
    with pytest.raises(RunTakenError, match="was claimed again since"):
        begin(service, old)
    assert not begin(service, new).again


def test_a_driver_that_cannot_begin_says_why(service: Service, place: Place) -> None:
    claim = begun(service, place)
    run, token = claim.order.run, claim.order.token
    assert not service.claims.could_not_begin(run, token + 1, "no")
    assert service.claims.could_not_begin(run, token, "there is no flow f in flows.py")
    assert not service.claims.could_not_begin(run, token, "there is no flow f in flows.py")
    assert (row_of(place, run).state_name, row_of(place, run).message) == ("Failed", "there is no flow f in flows.py")
    assert states(place, run)[-1] == "Failed"
    assert found(service, run).state is OrderState.DONE
