"""Where a run waits that comes back from an agent or a driver."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from anabranch.core.orders import NewOrder, Order, OrderState, Pool
from anabranch.core.recovery import BACK_OFF, SILENCE
from tests.contract.ordering import agent, begun, deploy, order
from tests.contract.services import Place, place, service

if TYPE_CHECKING:
    from anabranch.core.service import Service

__all__ = ["place", "service"]


def found(service: Service, run: str) -> Order:
    one = service.orders.find(run)
    assert one is not None
    return one


@pytest.mark.parametrize("driver", [False, True])
def test_a_run_that_comes_back_waits_where_its_deployment_is_now(service: Service, place: Place, driver: bool) -> None:
    service.pools.put(Pool("new"))
    if driver:
        run = begun(service, place).order.run
    else:
        deploy(service)
        [run] = order(service, "f/daily")
        agent(service)
        assert len(service.claims.claim("one", 1)) == 1
    deployed = service.deployments.find("f/daily")
    assert deployed is not None
    service.deployments.apply(replace(deployed, pool="new", queue="fast", content_hash="moved"))
    assert found(service, run).pool == "default", "it holds a slot there"
    place.clock.advance(SILENCE + 1)
    done = service.upkeep.reap()
    assert (done.recovered if driver else done.returned) == [run]
    mine = found(service, run)
    assert (mine.state, mine.pool, mine.queue) == (OrderState.WAITING, "new", "fast")
    place.clock.advance(BACK_OFF)
    agent(service, "two", pool="new")
    assert [claim.order.run for claim in service.claims.claim("two", 1)] == [run]


def test_a_claim_that_its_agent_leaves_keeps_its_own_queue(service: Service) -> None:
    deploy(service)
    [run] = (one.run for one in service.orders.add([NewOrder("f/daily", queue="urgent")]))
    agent(service)
    assert len(service.claims.claim("one", 1)) == 1
    service.claims.leave("one")
    assert (found(service, run).state, found(service, run).queue) == (OrderState.WAITING, "urgent")
