"""What any service does with schedules: who has them, and one run a tick whoever ticks."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import LONGEST_PARAMETERS, NewOrder
from tests.contract.services import NOW, Place, place, service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.service import Service

__all__ = ["place", "service"]

DEPLOYMENT = DeploymentRow("", "etl", "daily", document={"entrypoint": "flows.py:etl"})


def every(seconds: float, slug: str = "a", **options: Any) -> ScheduleRow:
    """A schedule of a deployment that `apply` names."""
    return ScheduleRow("", "", slug, {"interval": seconds}, next_tick=NOW + seconds, **options)


def deployed(service: Service, *schedules: ScheduleRow, name: str = "daily") -> list[ScheduleRow]:
    made = service.deployments.apply(replace(DEPLOYMENT, name=name), schedules)
    return service.schedules.all(made.id)


def slugs(schedules: Sequence[ScheduleRow]) -> list[str]:
    return [schedule.slug for schedule in schedules]


def wanted(schedule: ScheduleRow, *instants: float) -> list[NewOrder]:
    return [NewOrder(schedule.deployment, f"tick:{schedule.id}:{at}", due=at, schedule=schedule.id) for at in instants]


# -- having them -------------------------------------------------------------------------------------


def test_a_schedule_comes_back_as_it_was_declared(place: Place, service: Service) -> None:
    declared = every(60, "night", declared_active=False, parameters={"size": [1, "ü"]})
    (found,) = deployed(service, declared)
    assert found.id
    assert found.deployment
    assert found == replace(declared, id=found.id, deployment=found.deployment, cursor=NOW)
    assert place.opened().schedules.all("etl/daily") == place.opened().schedules.all() == [found]
    assert service.schedules.all("etl/none") == []


def test_schedules_of_a_deployment_are_those_of_the_last_apply(service: Service) -> None:
    deployed(service, every(60, "a"), every(60, "b"))
    deployed(service, every(60, "b"), every(60, "c"))
    assert slugs(service.schedules.all("etl/daily")) == ["b", "c"]
    service.deployments.apply(DEPLOYMENT)
    assert slugs(service.schedules.all("etl/daily")) == ["b", "c"]
    service.deployments.apply(DEPLOYMENT, [])
    assert service.schedules.all() == []


def test_one_schedule_is_added_changed_and_deleted(service: Service) -> None:
    (first,) = deployed(service, every(60))
    added = service.schedules.put(replace(every(5, "b"), deployment="etl/daily"))
    assert (added.deployment, added.cursor) == (first.deployment, NOW)
    changed = service.schedules.put(replace(added, deployment="etl/daily", parameters={"a": 1}))
    assert changed == replace(added, parameters={"a": 1})
    assert service.schedules.all("etl/daily") == [first, changed]
    assert service.schedules.delete("etl/daily", "b")
    assert not service.schedules.delete("etl/daily", "b")
    assert not service.schedules.delete("etl/none", "a")
    assert service.schedules.all("etl/daily") == [first]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (ScheduleRow("", "etl/dayly", "a", {}), "no deployment 'etl/dayly'; did you mean 'etl/daily'"),
        (ScheduleRow("", "etl/daily", "", {}), "needs a slug"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(service: Service, schedule: ScheduleRow, said: str) -> None:
    deployed(service)
    with pytest.raises(ServiceError, match=said):
        service.schedules.put(schedule)
    assert service.schedules.all() == []


# -- a person's word -----------------------------------------------------------------------------------


def test_what_a_person_has_set_outlives_the_next_deployment(service: Service) -> None:
    deployed(service, every(60, "a"), every(60, "b", declared_active=False))
    assert service.schedules.set_active("etl/daily", "a", False)
    assert service.schedules.set_active("etl/daily", "b", True)
    again = deployed(service, every(60, "a"), every(90, "b", declared_active=False))
    assert [(row.slug, row.declared_active, row.user_active, row.active) for row in again] == [
        ("a", True, False, False),
        ("b", False, True, True),
    ]
    service.schedules.set_active("etl/daily", "a", None)
    assert service.schedules.all("etl/daily")[0].active
    assert not service.schedules.set_active("etl/daily", "none", False)
    assert not service.schedules.set_active("etl/none", "a", False)


def test_a_schedule_that_was_deleted_and_comes_again_is_a_new_one(service: Service) -> None:
    (first,) = deployed(service, every(60))
    service.schedules.set_active("etl/daily", "a", False)
    deployed(service)
    (again,) = deployed(service, every(60))
    assert again.active
    assert again.id != first.id


def test_a_changed_spec_begins_at_the_present_and_an_unchanged_one_keeps_its_place(
    place: Place, service: Service
) -> None:
    (first,) = deployed(service, every(60))
    place.clock.advance(1000)
    same = replace(every(60), next_tick=NOW + 5000, declared_active=True, parameters={"new": 1})
    assert deployed(service, same) == [replace(first, parameters={"new": 1})]
    (changed,) = deployed(service, replace(every(90), next_tick=NOW + 1090))
    assert (changed.id, changed.cursor, changed.next_tick) == (first.id, NOW + 1000, NOW + 1090)


@pytest.mark.parametrize("by", ["schedule", "deployment", "author"])
def test_what_was_missed_during_a_pause_is_not_made_up_for(place: Place, service: Service, by: str) -> None:
    """The next tick is still the old one: the cursor says that nothing up to now is to be ordered."""
    (first,) = deployed(service, every(60))

    def pause(paused: bool) -> None:
        if by == "schedule":
            service.schedules.set_active("etl/daily", "a", not paused)
        elif by == "deployment":
            service.deployments.pause("etl/daily", paused)
        else:
            deployed(service, every(60, declared_active=not paused))

    pause(True)
    place.clock.advance(1000)
    assert service.schedules.due(NOW + 1000) == []
    assert not service.schedules.tick(first, NOW + 1000, NOW + 1060, [])
    pause(False)
    pause(False)  # twice is once
    (found,) = service.schedules.due(NOW + 1000)
    assert (found.id, found.cursor) == (first.id, NOW + 1000)


# -- ticks ---------------------------------------------------------------------------------------------


def test_due_are_active_schedules_by_their_next_tick(service: Service) -> None:
    deployed(
        service, every(60, "b"), every(30, "a"), every(10, "off", declared_active=False), every(99, "later"),
        replace(every(5, "ended"), next_tick=None),
    )  # fmt: skip
    assert slugs(service.schedules.due(NOW + 60)) == ["a", "b"]
    assert slugs(service.schedules.due(NOW + 60, limit=1)) == ["a"]
    assert service.schedules.due(NOW + 29) == []


def test_a_tick_moves_the_schedule_on_once(service: Service) -> None:
    (read,) = deployed(service, every(60))
    assert service.schedules.tick(read, NOW + 60, NOW + 120, [])
    assert not service.schedules.tick(read, NOW + 60, NOW + 120, [])
    (found,) = service.schedules.all("etl/daily")
    assert found == replace(read, cursor=NOW + 60, next_tick=NOW + 120)
    assert service.schedules.tick(found, NOW + 120, None, [])
    assert service.schedules.due(NOW + 9999) == []


def test_a_tick_orders_its_runs(service: Service) -> None:
    (read,) = deployed(service, replace(every(60), parameters={"size": 3}))
    assert service.schedules.tick(read, NOW + 60, NOW + 120, wanted(read, NOW + 30, NOW + 60))
    orders = service.orders.all(deployment="etl/daily")
    assert [(order.due, order.key, order.schedule) for order in orders] == [
        (NOW + at, f"tick:{read.id}:{NOW + at}", read.id) for at in (30, 60)
    ]


@pytest.mark.parametrize("meanwhile", ["spec", "paused", "deployment paused", "deleted", "deployment deleted"])
def test_a_schedule_that_changed_since_it_was_read_orders_nothing(service: Service, meanwhile: str) -> None:
    """A spec that changes at a tick: the runs of the old one are not ordered beside those of the new one."""
    (read,) = deployed(service, every(60))
    changes = {
        "spec": lambda: deployed(service, every(90)),
        "paused": lambda: service.schedules.set_active("etl/daily", "a", False),
        "deployment paused": lambda: service.deployments.pause("etl/daily", True),
        "deleted": lambda: service.schedules.delete("etl/daily", "a"),
        "deployment deleted": lambda: service.deployments.delete("etl/daily"),
    }
    changes[meanwhile]()
    before = service.schedules.all()
    assert not service.schedules.tick(read, NOW + 60, NOW + 120, wanted(read, NOW + 60))
    assert service.orders.all() == []
    assert service.schedules.all() == before


def test_a_tick_that_cannot_order_does_not_move_on(service: Service) -> None:
    (read,) = deployed(service, every(60))
    orders = wanted(read, NOW + 30, NOW + 60)
    orders[1].parameters = {"text": "x" * LONGEST_PARAMETERS}
    with pytest.raises(ServiceError):
        service.schedules.tick(read, NOW + 60, NOW + 120, orders)
    assert service.orders.all() == []
    assert service.schedules.all() == [read]


@given(
    intervals=st.lists(st.integers(5, 50), min_size=1, max_size=4),
    steps=st.lists(st.integers(0, 60), min_size=1, max_size=3),
    schedulers=st.integers(2, 5),
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_number_of_schedulers_order_each_tick_once(
    place: Place, intervals: list[int], steps: list[int], schedulers: int
) -> None:
    """Each has a service of its own, looks and ticks as it likes, and the clock moves on between."""
    services = [place.opened() for _ in range(schedulers)]
    began, name = place.clock.time(), uuid4().hex
    rows = [ScheduleRow("", "", str(n), {"interval": each}, next_tick=began + each) for n, each in enumerate(intervals)]
    deployment = services[0].deployments.apply(replace(DEPLOYMENT, name=name), rows)
    failed: list[BaseException] = []

    def run(service: Service, now: float) -> None:
        try:
            while ours := [row for row in service.schedules.due(now) if row.deployment == deployment.id]:
                for row in ours:
                    _order(service, row, now)
        except BaseException as error:
            failed.append(error)

    for step in steps:
        place.clock.advance(step)
        now = place.clock.time()
        threads = [threading.Thread(target=run, args=(service, now)) for service in services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
    now = place.clock.time()
    expected = {
        (row.id, at)
        for row in services[0].schedules.all(deployment.id)
        for at in _instants(began, row.spec["interval"], began, now)
    }
    orders = services[0].orders.all(deployment=deployment.id)
    assert len(orders) == len(expected)
    assert {(order.schedule, order.due) for order in orders} == expected
    services[0].deployments.delete(deployment.id)


def _instants(start: float, interval: float, after: float, until: float) -> list[float]:
    first, last = int((after - start) // interval) + 1, int((until - start) // interval)
    return [start + n * interval for n in range(first, last + 1)]


def _order(service: Service, row: ScheduleRow, now: float) -> None:
    """Do what a scheduler does: order one tick at a time, as it was read."""
    at = row.next_tick
    assert at is not None
    service.schedules.tick(row, at, at + row.spec["interval"], wanted(row, at))
