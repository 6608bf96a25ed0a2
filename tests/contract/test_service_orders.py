"""What any service does with orders: made once, found, cancelled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import ParametersRefused, RunTakenError, ServiceError
from anabranch.core.orders import LONGEST_PARAMETERS, Kill, NewOrder, Ordered, OrderState
from anabranch.core.picking import why_waiting
from anabranch.records.retention import DAY, sweep
from tests.contract.ordering import agent, begin, begun, deploy, hold, order, row_of, states
from tests.contract.services import NOW, Place, place, service

if TYPE_CHECKING:
    from anabranch.core.service import Service

__all__ = ["place", "service"]


def state_of(service: Service, run: str) -> OrderState:
    found = service.orders.find(run)
    assert found is not None
    return found.state


def test_an_order_is_a_flow_run_that_waits(service: Service, place: Place) -> None:
    row = deploy(service, tags=("nightly",), labels=("gpu",), document={"parameters": {"a": 1, "b": 1}})
    wanted = NewOrder("f/daily", parameters={"b": 2}, tags=("once",), name="bold-yak", by="ada", parent_run="p")
    [made] = service.orders.add([wanted])
    assert made.new
    run = row_of(place, made.run)
    assert (run.flow, run.name, run.state_name, run.pid, run.parent_run) == ("f", "bold-yak", "Scheduled", 0, "p")
    assert (set(run.tags), run.parameters) == ({"nightly", "once"}, '{"a": 1, "b": 2}')
    assert states(place, made.run) == ["Scheduled"]
    found = service.orders.find(made.run)
    assert found is not None
    assert (found.deployment, found.revision, found.parameters) == (row.id, 1, {"a": 1, "b": 2})
    assert (found.state, found.due, found.labels, found.by) == (OrderState.WAITING, NOW, ("gpu",), "ada")
    assert service.orders.find(made.run[:-1]) == found
    assert service.orders.find("bold-yak") == found
    assert service.orders.find("bald-yak") is None
    assert service.orders.find("") is None


def test_a_key_is_ordered_once_for_a_deployment(service: Service) -> None:
    deploy(service)
    deploy(service, "other")
    [first] = service.orders.add([NewOrder("f/daily", key="k")])
    again = service.orders.add([NewOrder("f/daily", key="k"), NewOrder("f/daily", key="k")])
    assert again == [Ordered(first.run, False)] * 2
    [other] = service.orders.add([NewOrder("f/other", key="k")])
    assert other.new
    both = service.orders.add([NewOrder("f/daily", key="l"), NewOrder("f/daily", key="l")])
    assert both == [Ordered(both[0].run, True), Ordered(both[0].run, False)]
    one, two = service.orders.add([NewOrder("f/daily"), NewOrder("f/daily")])
    assert one.new
    assert two.new
    assert one.run != two.run
    given = NewOrder("f/daily", run="0190-mine")
    assert [service.orders.add([given])[0].new for _ in range(2)] == [True, False]


def test_all_orders_are_made_or_none(service: Service) -> None:
    deploy(service)
    with pytest.raises(ServiceError, match="no deployment 'f/dayly'; did you mean 'f/daily'"):
        service.orders.add([NewOrder("f/daily"), NewOrder("f/dayly")])
    with pytest.raises(ServiceError, match=r"600,.* bytes of JSON, and at most 524,288"):
        service.orders.add([NewOrder("f/daily"), NewOrder("f/daily", parameters={"a": "x" * 600_000})])
    assert service.orders.all() == []
    whole = {"a": "x" * (LONGEST_PARAMETERS - 100)}
    [made] = service.orders.add([NewOrder("f/daily", parameters=whole)])
    found = service.orders.find(made.run)
    assert found is not None
    assert found.parameters == whole


@pytest.mark.parametrize(
    "bad", [{"due": math.inf}, {"due": math.nan}, {"parameters": {"a": [math.nan]}}, {"job": {"a": -math.inf}}]
)
def test_numbers_that_are_not_finite_are_refused(service: Service, bad: dict[str, Any]) -> None:
    """The record and its readers cannot have them: one would make each list fail."""
    deploy(service)
    with pytest.raises(ServiceError):
        service.orders.add([NewOrder("f/daily", **bad)])
    assert service.orders.all() == []
    with pytest.raises(ServiceError):
        deploy(service, "other", expire_after=math.inf)
    assert [row.name for row in service.deployments.all()] == ["daily"]


def test_a_key_is_ordered_anew_once_its_run_was_deleted(service: Service, place: Place) -> None:
    deploy(service)
    [first] = service.orders.add([NewOrder("f/daily", key="k")])
    waiting = order(service, "f/daily")[0]
    service.orders.cancel(first.run)
    place.clock.advance(100 * DAY)
    assert sweep(place.records.database, place.clock.time() - 90 * DAY) == 1  # type: ignore[attr-defined]
    assert service.orders.find(first.run) is None
    [second] = service.orders.add([NewOrder("f/daily", key="k")])
    assert second.new
    assert {one.run for one in service.orders.all()} == {waiting, second.run}


def test_orders_are_listed_by_due(service: Service) -> None:
    row = deploy(service)
    other = deploy(service, "other")
    late, early = order(service, row, due=NOW + 9)[0], order(service, row, due=NOW + 3)[0]
    theirs = order(service, other, due=NOW + 5)[0]
    assert [one.run for one in service.orders.all()] == [early, theirs, late]
    assert [one.run for one in service.orders.all(deployment="f/daily")] == [early, late]
    assert [one.run for one in service.orders.all(limit=1)] == [early]
    assert service.orders.all(pool="served") == []
    service.orders.cancel(early)
    assert [one.run for one in service.orders.all(deployment=row.id)] == [late]
    assert [one.run for one in service.orders.all(deployment=row.id, open=False)] == [early, late]


def test_why_an_order_waits_is_told(service: Service) -> None:
    row = deploy(service, labels=("gpu",), slots=1)
    run = order(service, row)[0]

    def why() -> str:
        found = service.orders.standing(run)
        assert found is not None
        return why_waiting(found)

    assert why() == "no agent of pool default is there"
    agent(service, "one", labels=("big",))
    assert why() == "1 agent of pool default, and none has label gpu"
    agent(service, "one", labels=("big", "gpu"), capacity=2)
    assert why() == "an agent takes it at its next look"
    first = service.orders.add([NewOrder(row.id, priority=1, name="first-yak")])[0]
    assert [claim.order.run for claim in service.claims.claim("one", 2)] == [first.run]
    assert why() == "1/1 slots of deployment f/daily are held by first-yak"
    service.deployments.pause(row.id, True)
    assert why().startswith("deployment f/daily is paused")
    assert service.orders.standing("nothing") is None


# -- cancelled -------------------------------------------------------------------------------------


def test_a_waiting_run_is_cancelled_at_once(service: Service, place: Place) -> None:
    run = order(service, deploy(service))[0]
    assert service.orders.cancel(run, by="ada")
    assert (row_of(place, run).state_name, row_of(place, run).message) == ("Cancelled", "cancelled by ada")
    assert row_of(place, run).ended == place.clock.time()
    assert states(place, run) == ["Scheduled", "Cancelled"]
    assert not service.orders.cancel(run)
    assert not service.orders.cancel("nothing")
    agent(service)
    assert service.claims.claim("one", 5) == []


def test_a_claimed_run_is_cancelled_at_once_and_its_job_is_to_end(service: Service, place: Place) -> None:
    deploy(service, slots=1)
    first, second = order(service, "f/daily", 2)
    agent(service)
    [claim] = service.claims.claim("one", 5)
    assert service.orders.cancel(first)
    assert row_of(place, first).state_name == "Cancelled"
    with pytest.raises(RunTakenError, match="has ended: cancelled"):
        begin(service, claim)
    assert [one.order.run for one in service.claims.claim("one", 5)] == [second]
    heard = service.claims.beat("one", [hold(claim)])
    assert heard.drop == [Kill(first, claim.order.token)]


def test_a_begun_run_has_time_to_end_then_it_is_killed_then_it_is_over(service: Service, place: Place) -> None:
    claim = begun(service, place)
    run = claim.order.run
    assert service.orders.cancel(run, by="ada", grace=20)
    assert place.records.cancel_requested([run]) == {run}
    assert states(place, run)[-1] == "Cancelling"
    assert service.claims.beat("one", [hold(claim, "running")]).kill == []
    place.clock.advance(21)
    assert service.claims.beat("one", [hold(claim, "running")]).kill == [Kill(run, claim.order.token)]
    assert service.upkeep.reap().cancelled == [], "its agent has time to kill it"
    place.clock.advance(25)
    service.claims.beat("one", [hold(claim, "running")])
    place.clock.advance(6)
    assert service.upkeep.reap().cancelled == [run]
    assert state_of(service, run) is OrderState.DONE
    assert row_of(place, run).state_name == "Cancelled"
    assert row_of(place, run).message.startswith("cancelled by ada; its driver did not end")
    assert service.claims.beat("one", [hold(claim, "running")]).drop == [Kill(run, claim.order.token)]
    assert service.upkeep.reap().cancelled == []


def test_a_cancelled_run_whose_driver_dies_is_cancelled_and_not_recovered(service: Service, place: Place) -> None:
    claim = begun(service, place)
    service.orders.cancel(claim.order.run)
    service.claims.beat("one", [hold(claim, "ended", code=-9)])
    assert row_of(place, claim.order.run).state_name == "Cancelled"
    assert service.claims.claim("one", 5) == []


def test_a_request_in_the_record_is_heard_in_every_state(service: Service, place: Place) -> None:
    """As `anabranch run cancel` writes it, which knows nothing of orders."""
    claim = begun(service, place)
    waiting = order(service, "f/daily")[0]
    place.clock.advance(1)
    for run in (claim.order.run, waiting):
        assert place.records.request_cancel(run)
    assert service.upkeep.reap().cancelled == [waiting]
    assert row_of(place, waiting).state_name == "Cancelled"
    found = service.orders.find(claim.order.run)
    assert found is not None
    assert (found.state, found.reason) == (OrderState.BEGUN, "cancelled")


def test_deleting_a_deployment_cancels_what_waits(service: Service, place: Place) -> None:
    run = order(service, deploy(service))[0]
    assert service.deployments.delete("f/daily")
    assert row_of(place, run).state_name == "Cancelled"
    assert "f/daily was deleted" in row_of(place, run).message


# -- more than a deployment has slots for ------------------------------------------------------------


def test_a_new_run_is_cancelled_where_slots_are_taken(service: Service, place: Place) -> None:
    row = deploy(service, slots=1, collision="cancel_new")
    agent(service)
    first, second = order(service, row, 2)
    assert row_of(place, second).state_name == "Cancelled"
    assert row_of(place, second).message == "all 1 slots of f/daily were taken"
    [claim] = service.claims.claim("one", 5)
    assert claim.order.run == first
    later = order(service, row, due=NOW + 10)[0]
    assert state_of(service, later) is OrderState.WAITING, "it is not due: the slot may be free by then"
    place.clock.advance(11)
    service.claims.beat("one", [hold(claim)])
    assert service.upkeep.reap().cancelled == [later]
    assert row_of(place, first).state_name == "Scheduled"


def test_a_running_one_is_cancelled_for_a_newer_one(service: Service, place: Place) -> None:
    claim = begun(service, place, slots=1, collision="cancel_running")
    place.clock.advance(1)
    skipped, newest = order(service, "f/daily", 2)
    assert row_of(place, skipped).state_name == "Cancelled"
    assert states(place, claim.order.run)[-1] == "Cancelling"
    assert state_of(service, newest) is OrderState.WAITING
    assert service.claims.claim("one", 5) == [], "the slot is held until the driver has ended"
    service.claims.beat("one", [hold(claim, "ended", code=-15)])
    assert [one.order.run for one in service.claims.claim("one", 5)] == [newest]


@pytest.mark.parametrize("due", [0.0, -3600.0])
def test_a_time_before_all_times_is_due_at_once(service: Service, due: float) -> None:
    row = deploy(service)
    run = service.orders.add([NewOrder(row.id, due=due)])[0].run
    agent(service)
    assert [claim.order.run for claim in service.claims.claim("one", 1)] == [run]


SCHEMA = {
    "type": "object", "required": ["size"], "additionalProperties": False,
    "properties": {"size": {"type": "integer"}, "day": {"type": "string", "format": "date", "default": "2026-01-01"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"size": "many"}, "size: Input should be a valid integer"),
        ({"size": 3, "day": "some day"}, "day: "),
        ({}, "size: is missing"),
        ({"size": 3, "siz": 4}, "siz: there is no such parameter; did you mean 'size'?"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_the_service_with_the_field(
    service: Service, parameters: dict[str, Any], said: str
) -> None:
    deploy(service, document={"parameter_schema": SCHEMA})
    good = NewOrder("f/daily", parameters={"size": 3})
    with pytest.raises(ParametersRefused) as refused:
        service.orders.add([good, NewOrder("f/daily", parameters=parameters)])
    assert said in str(refused.value)
    assert "deployment 'f/daily'" in str(refused.value)
    assert service.orders.all(deployment="f/daily") == []  # all or none


def test_parameters_that_fit_with_those_of_the_deployment_are_ordered(service: Service) -> None:
    deploy(service, document={"parameter_schema": SCHEMA, "parameters": {"size": 3}})
    secret = {"size": {"$secret": "SIZE"}}  # its text is known to the driver alone
    wanted: list[dict[str, Any]] = [{}, {"day": "2026-02-01"}, {"size": "4"}, secret]
    assert all(one.new for one in service.orders.add([NewOrder("f/daily", parameters=given) for given in wanted]))


def test_a_deployment_that_enforces_no_schema_takes_any_parameters(service: Service) -> None:
    deploy(service, document={"parameter_schema": SCHEMA, "enforce_parameter_schema": False})
    assert service.orders.add([NewOrder("f/daily", parameters={"siz": 4})])[0].new


def test_the_tick_of_a_schedule_makes_its_run_whatever_its_parameters(service: Service) -> None:
    """A run that fails says why; a schedule that orders nothing says it to the log of a server."""
    deploy(service, document={"parameter_schema": SCHEMA})
    assert service.orders.add([NewOrder("f/daily", parameters={}, schedule="s")])[0].new


def test_an_order_that_is_known_by_its_key_is_the_earlier_one_whatever_is_asked(service: Service) -> None:
    deploy(service, document={"parameter_schema": SCHEMA})
    [first] = service.orders.add([NewOrder("f/daily", "k", parameters={"size": 1})])
    assert service.orders.add([NewOrder("f/daily", "k", parameters={})]) == [Ordered(first.run, False)]
