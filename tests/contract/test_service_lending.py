"""What any service does with the slots of an order whose driver waits for a run that it has ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.orders import OrderState, Pool, Queue
from anabranch.core.picking import LENDS, why_waiting
from tests.contract.ordering import agent, begin, deploy, hold, order, write
from tests.contract.services import Place, place, service

if TYPE_CHECKING:
    from anabranch.core.orders import Claim
    from anabranch.core.service import Service

__all__ = ["place", "service"]


def why(service: Service, run: str) -> str:
    standing = service.orders.standing(run)
    assert standing is not None
    return why_waiting(standing)


def begun(service: Service, **details: object) -> Claim:
    """A begun order that has the one slot there is, wherever the limit lies."""
    deploy(service, "parent", pool="p", **details)
    order(service, "f/parent")
    agent(service, pool="p")
    [claim] = service.claims.claim("one", 1)
    begin(service, claim)
    return claim


@pytest.mark.parametrize("limited", ["pool", "queue", "deployment"])
def test_a_child_has_the_slot_that_its_parent_lends(service: Service, place: Place, limited: str) -> None:
    service.pools.put(Pool("p", slots=1 if limited == "pool" else None))
    service.pools.put_queue(Queue("p", "default", slots=1 if limited == "queue" else None))
    parent = begun(service, slots=1 if limited == "deployment" else None)
    if limited != "deployment":
        deploy(service, "child", pool="p")
    [child] = order(service, "f/parent" if limited == "deployment" else "f/child", parent_run=parent.order.run)
    assert service.claims.claim("one", 5) == []
    assert "1/1 slots of" in why(service, child)
    assert why(service, parent.order.run) == ""

    assert service.claims.lend(parent.order.run, parent.order.token, True)
    assert service.claims.lend(parent.order.run, parent.order.token, True)
    assert "slots of" not in why(service, child)
    assert why(service, parent.order.run) == LENDS
    place.clock.advance(1)
    [second] = order(service, "f/parent" if limited == "deployment" else "f/child")
    [claim] = service.claims.claim("one", 5)
    assert claim.order.run == child, "one slot is lent, not two"
    begin(service, claim, 2)

    assert service.claims.lend(parent.order.run, parent.order.token, False), "over the limit: it goes on at once"
    assert "2/1 slots of" in why(service, second)
    write(place, child, claim.order.token)
    assert service.claims.claim("one", 5) == []
    write(place, parent.order.run, parent.order.token)
    assert [one.order.run for one in service.claims.claim("one", 5)] == [second]


def test_an_agent_hears_which_of_its_places_are_lent(service: Service, place: Place) -> None:
    service.pools.put(Pool("p"))
    claim = begun(service)
    agent(service, pool="p", capacity=1)
    held = [hold(claim, "running")]
    assert service.claims.beat("one", held).lent == []
    assert [one.held for one in service.claims.agents("p")] == [1]
    service.claims.lend(claim.order.run, claim.order.token, True)
    assert service.claims.beat("one", held).lent == [claim.order.run]
    assert [one.held for one in service.claims.agents("p")] == [0]
    service.claims.lend(claim.order.run, claim.order.token, False)
    assert service.claims.beat("one", held).lent == []


def test_only_the_driver_that_has_begun_it_lends(service: Service, place: Place) -> None:
    service.pools.put(Pool("p", slots=1))
    deploy(service, "parent", pool="p")
    [run] = order(service, "f/parent")
    agent(service, pool="p")
    [claim] = service.claims.claim("one", 1)
    token = claim.order.token
    assert not service.claims.lend("nobody", token, True)
    assert not service.claims.lend(run, token, True), "it is not begun"
    begin(service, claim)
    assert not service.claims.lend(run, token - 1, True)
    assert service.claims.lend(run, token, True)
    write(place, run, token)
    assert not service.claims.lend(run, token, True), "it is done"


def test_what_a_dead_driver_has_lent_is_held_by_the_next_one(service: Service, place: Place) -> None:
    service.pools.put(Pool("p", slots=1))
    claim = begun(service)
    service.claims.lend(claim.order.run, claim.order.token, True)
    service.claims.beat("one", [hold(claim, "ended", code=-9)])
    place.clock.advance(60)
    service.claims.beat("one", [])
    [again] = service.claims.claim("one", 1)
    assert again.order.run == claim.order.run
    deploy(service, "other", pool="p")
    order(service, "f/other")
    assert service.claims.claim("one", 1) == []
    begin(service, again, 2)
    assert service.claims.claim("one", 1) == []
    found = service.orders.standing(claim.order.run)
    assert found is not None
    assert (found.order.state, found.lent) == (OrderState.BEGUN, False)
