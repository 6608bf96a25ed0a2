"""Schedules become orders over any service: one run of a tick, whoever steps, whatever stops and whatever clocks do."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import Agent, DriverProcess, NewOrder, OrderState
from anabranch.core.service import MOST, open_orders
from anabranch.scheduling import Cron, Interval, Schedule, rows
from anabranch.services.loop import LEASE
from anabranch.services.schedule import AHEAD, ScheduleStep, backfill
from tests.contract.services import NOW, Place, place, service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.orders import Order
    from anabranch.core.service import Service

__all__ = ["place", "service"]

HOUR = 3600.0
START = "2027-01-15T08:00"  # NOW
ME = DriverProcess(4711, 1.0, "here")


def deployed(service: Service, *schedules: Schedule, name: str = "daily") -> DeploymentRow:
    deployment = DeploymentRow("", "etl", name, document={"entrypoint": "flows.py:etl"})
    return service.deployments.apply(deployment, rows(schedules, NOW))


def orders(service: Service) -> list[Order]:
    return service.orders.all(open=False)


def ticks(service: Service) -> list[float]:
    """The ticks that have runs, in seconds from the start, in order of their orders."""
    found = [float(order.key.rpartition(":")[2]) - NOW for order in orders(service)]
    assert len(set(found)) == len(found)
    return sorted(found)


def lived(place: Place, step: ScheduleStep, seconds: float, stride: float = 5.0) -> None:
    """Let time pass, with a step every so many seconds."""
    end = place.clock.time() + seconds
    while (now := place.clock.time()) < end:
        step(now)
        place.clock.advance(min(stride, end - now))
    step(place.clock.time())


def begun(service: Service) -> Order:
    """Begin the one order that may be claimed."""
    agent = service.claims.join(Agent("agent", "one", capacity=5))
    [claim] = service.claims.claim(agent.id, 1)
    service.claims.begin(claim.order.run, claim.order.token, ME)
    return claim.order


# -- one run of a tick -----------------------------------------------------------------------------


def test_ticks_become_orders_shortly_before_their_time(place: Place, service: Service) -> None:
    made = deployed(service, Interval(60, slug="often", parameters={"size": 2}), Interval(HOUR))
    step = ScheduleStep(service)
    lived(place, step, 60 - AHEAD - 1)
    assert orders(service) == []
    lived(place, step, 2.0)
    [order] = orders(service)
    schedule = next(one for one in service.schedules.all() if one.slug == "often")
    assert (order.due, order.deployment, order.parameters) == (NOW + 60, made.id, {"size": 2})
    assert (order.key, order.schedule, order.by) == (
        f"tick:{schedule.id}:{NOW + 60:.0f}",
        schedule.id,
        "schedule often",
    )
    lived(place, step, 240)
    assert ticks(service) == [60, 120, 180, 240, 300]


def test_schedulers_side_by_side_make_one_run_of_a_tick(place: Place, service: Service) -> None:
    """Fault 19, without the death of one."""
    deployed(service, *(Interval(20 + number, START, catchup="all", slug=f"s{number}") for number in range(12)))
    steps = [ScheduleStep(place.opened()) for _ in range(3)]
    for round in range(1, 4):
        place.clock.advance(60)
        line = threading.Barrier(len(steps))

        def work(step: ScheduleStep, line: threading.Barrier = line) -> None:
            line.wait(30)
            while step(place.clock.time()) == 0.0:
                pass

        threads = [threading.Thread(target=work, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        # One that lost every race has nothing more to do; what it left is taken by the next look.
        steps[0](place.clock.time())
        expected = sum(int(round * 60 + AHEAD) // width for width in range(20, 32))
        assert len({order.key for order in orders(service)}) == len(orders(service)) == expected


def test_a_wall_clock_that_jumps_gives_no_tick_twice(place: Place, service: Service) -> None:
    """Fault 22: an hour forward is an hour without schedulers; an hour back waits for the cursor."""
    deployed(service, Interval(600, catchup="all"))
    step = ScheduleStep(service)
    now = highest = NOW
    for jump in (0.0, HOUR, 0.0, -HOUR, 0.0, HOUR):
        now += jump
        for _ in range(33):
            now += 20
            highest = max(highest, now)
            step(now)
    assert ticks(service) == [600.0 * number for number in range(1, int((highest + AHEAD - NOW) // 600) + 1)]


def test_a_wall_clock_set_back_keeps_nobody_from_a_lease_or_a_claim(place: Place, service: Service) -> None:
    """Fault 22: the program that held them is dead, and its leases end an hour from now."""
    service.orders.add([NewOrder(deployed(service).id)])
    service.claims.join(Agent("agent", "one", capacity=5))
    [claim] = service.claims.claim("agent", 1)
    assert service.upkeep.lease("services", "dead", LEASE)
    place.clock.advance(1)
    assert not service.upkeep.lease("services", "other", LEASE)
    assert service.upkeep.reap().returned == []
    place.clock.set_back(HOUR)
    assert service.upkeep.lease("services", "other", LEASE)
    assert not service.upkeep.lease("services", "dead", LEASE)
    assert service.upkeep.reap().returned == [claim.order.run]


# -- what is made up for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [12_000]),
        ({"window": 100}, []),
        ({"catchup": "all"}, [3000, 6000, 9000, 12_000]),
        ({"catchup": "none"}, []),
    ],
    ids=["latest", "out of the window", "all", "none"],
)
def test_three_hours_down(place: Place, service: Service, options: dict[str, Any], expected: list[float]) -> None:
    """Fault 21."""
    deployed(service, Interval(3000, anchor_date=START, **options))
    place.clock.advance(3.5 * HOUR)
    step = ScheduleStep(service)
    step(place.clock.time())
    assert ticks(service) == expected
    lived(place, step, 3000, stride=60.0)
    assert ticks(service) == [*expected, 15_000]


def test_a_backfill_runs_what_had_no_run(place: Place, service: Service) -> None:
    deployed(service, Interval(600, anchor_date=START, overlap="skip"))
    step = ScheduleStep(service)
    lived(place, step, 650, stride=20.0)
    assert ticks(service) == [600]
    [schedule] = service.schedules.all()
    assert len(backfill(service, schedule, NOW - 600, NOW + 1200)) == 3
    assert ticks(service) == [-600, 0, 600, 1200]
    assert backfill(service, schedule, NOW - 600, NOW + 1200) == []
    assert backfill(service, schedule, NOW + 1, NOW + 2) == []


# -- overlap ---------------------------------------------------------------------------------------


def test_an_earlier_run_behind_a_page_of_others_is_seen(service: Service, place: Place) -> None:
    row = deployed(service, Interval(600, anchor_date=START, overlap="skip"))
    service.orders.add([NewOrder(row.id, due=NOW - 10) for _ in range(MOST + 1)])
    step = ScheduleStep(service)
    lived(place, step, 1300, stride=300)
    mine = [one for one in open_orders(service.orders, row.id) if one.schedule]
    assert len(mine) == 1
    pages = [service.orders.all(deployment=row.id, limit=150)]
    pages.append(service.orders.all(deployment=row.id, after=pages[0][-1].place))
    assert len({one.run for page in pages for one in page}) == MOST + 2
    assert [one.run for one in service.orders.all(schedule=mine[0].schedule)] == [mine[0].run]
    with pytest.raises(ServiceError, match="'behind' is no place in a list of orders"):
        service.orders.all(after="behind")



def test_skip_drops_ticks_while_a_run_is_not_over(place: Place, service: Service) -> None:
    deployed(service, Interval(600, anchor_date=START, overlap="skip"))
    step = ScheduleStep(service)
    lived(place, step, 1300, stride=20.0)
    assert ticks(service) == [600]
    service.orders.cancel(orders(service)[0].run)
    lived(place, step, 600, stride=20.0)
    assert ticks(service) == [600, 1800]


def test_queue_one_runs_the_latest_when_the_earlier_is_over(place: Place, service: Service) -> None:
    deployed(service, Interval(600, anchor_date=START, overlap="queue_one"))
    step = ScheduleStep(service)
    lived(place, step, 600, stride=20.0)
    first = begun(service)
    lived(place, step, 1300, stride=20.0)
    assert ticks(service) == [600]
    assert service.claims.could_not_begin(first.run, first.token, "it ends here")
    lived(place, step, 20)
    assert ticks(service) == [600, 1800]


def test_cancel_running_ends_the_earlier(place: Place, service: Service) -> None:
    deployed(service, Interval(600, anchor_date=START, overlap="cancel_running"))
    step = ScheduleStep(service)
    lived(place, step, 1250, stride=20.0)
    assert ticks(service) == [600, 1200]
    states = {float(order.key.rpartition(":")[2]) - NOW: order.state for order in orders(service)}
    assert states == {600: OrderState.DONE, 1200: OrderState.WAITING}


# -- bad ones --------------------------------------------------------------------------------------


def spoilt(service: Service, deployment: DeploymentRow, specs: Iterable[Any]) -> None:
    """Put in schedules as a newer or a damaged program may have left them."""
    for number, spec in enumerate(specs):
        row = ScheduleRow("", deployment.id, f"bad-{number}", spec, cursor=NOW, next_tick=NOW + 1)
        service.schedules.put(row)


def test_bad_schedules_are_told_once_and_stop_no_other(
    place: Place, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 24."""
    made = deployed(service, Interval(60, slug="good"))
    spoilt(service, made, [{"cron": "0 0 31 2 *"}, {"rrule": "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"}, {}, {"moon": 1}])
    with caplog.at_level(logging.WARNING, "anabranch.services"):
        lived(place, ScheduleStep(service), 120)
    assert ticks(service) == [60, 120]
    assert len([record for record in caplog.records if "ticks no more" in record.message]) == 4
    assert [row.slug for row in service.schedules.all() if row.next_tick is None] == [f"bad-{n}" for n in range(4)]
    [row] = [row for row in service.schedules.all() if row.slug == "bad-0"]
    service.schedules.put(replace(row, spec={"cron": "* * * * *"}, next_tick=place.clock.time() + 1))
    lived(place, ScheduleStep(service), 120)
    assert sum(order.by == "schedule bad-0" for order in orders(service)) >= 2


def test_a_schedule_with_refused_orders_waits_a_minute_and_stops_no_other(
    place: Place, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    deployed(service, Interval(60, slug="good"), Interval(60, slug="large", parameters={"a": "x" * 600_000}))
    with caplog.at_level(logging.WARNING, "anabranch.services"):
        lived(place, ScheduleStep(service), 300)
    assert ticks(service) == [60, 120, 180, 240, 300]
    assert len([record for record in caplog.records if "looked at again" in record.message]) == 1


def test_many_schedules_of_one_moment_are_taken_in_batches(place: Place, service: Service) -> None:
    deployed(service, *(Cron("0 * * * *", slug=f"s{number}") for number in range(205)))
    place.clock.advance(HOUR)
    step = ScheduleStep(service)
    assert step(place.clock.time()) == 0.0
    assert step(place.clock.time()) > 0.0
    assert step(place.clock.time()) > 0.0
    assert all(row.cursor > NOW for row in service.schedules.all())


@pytest.mark.parametrize(("width", "ahead"), [(1, 2.0), (4, 4.0), (30, AHEAD)])
def test_short_steps_are_ordered_a_step_ahead_and_two_seconds_at_least(
    place: Place, service: Service, width: int, ahead: float
) -> None:
    """What a program has ordered ahead is cancelled when it ends."""
    deployed(service, Interval(width))
    lived(place, ScheduleStep(service), 60.0, 0.5)
    furthest = max(order.due for order in orders(service)) - place.clock.time()
    assert ahead - width < furthest <= ahead
    assert ticks(service) == [float(width * n) for n in range(1, int((60 + ahead) // width) + 1)]
