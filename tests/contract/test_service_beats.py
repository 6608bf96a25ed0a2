"""What any service does with beats that do not fit its orders: other pools, deleted deployments, many launches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RunTakenError
from anabranch.core.orders import Kill, OrderState, Pool
from anabranch.core.recovery import LAUNCH_LIMIT, RECOVER_LIMIT
from tests.contract.ordering import agent, begin, begun, deploy, hold, order, row_of, write
from tests.contract.services import Place, place, service

if TYPE_CHECKING:
    from anabranch.core.orders import Order
    from anabranch.core.service import Service

__all__ = ["place", "service"]

AGAIN = 120.0  # seconds after which an order with a dead job is due again


def found(service: Service, run: str) -> Order:
    one = service.orders.find(run)
    assert one is not None
    return one


@pytest.mark.parametrize("phase", ["gone", "running"])
def test_an_agent_of_another_pool_has_no_say(service: Service, place: Place, phase: str) -> None:
    service.pools.put(Pool("other"))
    mine = begun(service, place, recover="no")
    waiting = order(service, "f/daily")[0]
    [claim] = service.claims.claim("one", 1)
    agent(service, "stranger", pool="other")
    before = [found(service, run) for run in (mine.order.run, waiting)]
    word = [hold(one, phase, handle="job 7", reason="a stranger says so") for one in (mine, claim)]
    assert service.claims.beat("stranger", word).drop == []
    assert [found(service, run) for run in (mine.order.run, waiting)] == before
    # A job that it has nevertheless, and that is over for the record, is to end.
    write(place, mine.order.run, mine.order.token)
    assert [one.run for one in service.claims.beat("stranger", word).drop] == [mine.order.run]


def test_a_lost_claim_of_a_deleted_deployment_frees_its_slot(service: Service, place: Place) -> None:
    """The agent goes on to beat, so that its claim never ends by its silence."""
    service.pools.put(Pool("p", slots=1))
    run = order(service, deploy(service, pool="p"))[0]
    agent(service, pool="p")
    [claim] = service.claims.claim("one", 1)  # nobody heard the answer
    assert service.deployments.delete("f/daily")
    other = order(service, deploy(service, "other", pool="p"))[0]
    assert service.claims.beat("one", []).launch == []
    assert found(service, run).state is OrderState.DONE
    assert (row_of(place, run).state_name, row_of(place, run).message) == ("Cancelled", "its deployment was deleted")
    assert [one.order.run for one in service.claims.claim("one", 1)] == [other]
    assert service.claims.beat("one", [hold(claim)]).drop == [Kill(run, claim.order.token)]


def test_launches_are_counted_anew_once_a_driver_has_begun(service: Service, place: Place) -> None:
    claim = begun(service, place)
    run = claim.order.run
    for pid in range(2, 2 + RECOVER_LIMIT):
        for _ in range(LAUNCH_LIMIT):  # its driver dies first, then jobs that never begin
            service.claims.beat("one", [hold(claim, "gone", reason="its node went away")])
            assert found(service, run).state is OrderState.WAITING
            place.clock.advance(AGAIN)
            service.claims.beat("one", [])
            [claim] = service.claims.claim("one", 1)
        begin(service, claim, pid)
    for_good = found(service, run)
    assert (for_good.state, for_good.recoveries) == (OrderState.BEGUN, RECOVER_LIMIT)


def test_a_driver_that_does_not_begin_in_its_time_loses_its_claim(service: Service, place: Place) -> None:
    """Its agent lives and looks at its job, so that the claim would hold its slot for ever."""
    deploy(service)
    run = order(service, "f/daily")[0]
    agent(service)
    for launch in range(1, LAUNCH_LIMIT + 1):
        [claim] = service.claims.claim("one", 1)
        assert service.claims.beat("one", [hold(claim, "running")]).drop == []
        word = hold(claim, "running", reason="no node has room", overdue=300.0)
        assert service.claims.beat("one", [word]).drop == [Kill(run, claim.order.token)]
        if launch < LAUNCH_LIMIT:
            one = found(service, run)
            assert (one.state, one.reason) == (
                OrderState.WAITING, "its job did not begin within 300 s: no node has room",
            )  # fmt: skip
            with pytest.raises(RunTakenError):  # it wakes up late
                begin(service, claim)
        place.clock.advance(AGAIN)
        service.claims.beat("one", [])
    assert found(service, run).state is OrderState.DONE
    ended = row_of(place, run)
    assert ended.state_name == "Crashed"
    assert ended.message == "gave up after 3 launches: its job did not begin within 300 s: no node has room"


def test_a_driver_that_has_begun_is_not_overdue(service: Service, place: Place) -> None:
    claim = begun(service, place)
    assert service.claims.beat("one", [hold(claim, "running", overdue=300.0)]).drop == []
    assert found(service, claim.order.run).state is OrderState.BEGUN
