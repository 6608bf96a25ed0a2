"""The step that turns ticks of schedules into orders. Anybody may take it: unique keys make one run of a tick.

    due --> parse --> which ticks, by catchup --> what about earlier runs, by overlap --> tick: orders and cursor

A schedule that cannot be read is told of once and marked: it has no next tick until it is deployed again. One of
which the service refuses the orders is looked at again a minute later. The others go on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anabranch.core.errors import AccessError, ServiceError, UnreachableError
from anabranch.core.orders import NewOrder, Tick
from anabranch.core.service import MOST, open_orders
from anabranch.scheduling import overlap, ticks
from anabranch.scheduling.spec import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.deployments import ScheduleRow
    from anabranch.core.service import Service
    from anabranch.scheduling.schedule import Schedule

AHEAD = 10.0  # seconds before its tick that a run is ordered, at most
SHORTEST_AHEAD = 2.0  # the same for ticks that follow each other fast: one look may be missed
LOOK = 1.0  # seconds between looks
TOGETHER = 50  # schedules in one transaction
REFUSED = 60.0  # seconds until a schedule with refused orders is looked at again
LONGEST_WAIT = 15.0  # seconds between looks at a schedule that waits for its earlier run

logger = logging.getLogger("anabranch.services")


class ScheduleStep:
    """Orders the runs of ticks as they come."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._told: dict[str, str] = {}  # by schedule, what was last said of it

    def __call__(self, now: float) -> float:
        """Decide the ticks of one batch of schedules; returns the seconds until there is more to do.

        Raises:
            UnreachableError, RecordsError: nothing can be asked now.
        """
        rows = self._service.schedules.due(now + AHEAD, MOST)
        decided, wait = [], LOOK
        for row in rows:
            found = self._decided(row, now)
            if isinstance(found, Tick):
                decided.append(found)
            else:
                wait = min(wait, found)
        moved = sum(self._moved(decided[start : start + TOGETHER], now) for start in range(0, len(decided), TOGETHER))
        return 0.0 if len(rows) == MOST and moved else wait

    def _decided(self, row: ScheduleRow, now: float) -> Tick | float:
        """Return what to do about a schedule's ticks; or the seconds until they come."""
        try:
            schedule = parse(row.spec)
            ahead = _ahead(schedule, row.next_tick)
            if row.next_tick is not None and row.next_tick > now + ahead:
                return row.next_tick - now
            due = ticks.due(schedule, row.cursor, now, ahead=ahead)
        except Exception as error:  # whatever is wrong with one schedule, others go on
            self._tell(row, f"is marked, and ticks no more until it is deployed again: {error}")
            return Tick(row, row.cursor, None)
        earlier = {} if schedule.overlap == "allow" or not due.ticks else self._earlier(row)
        decision = overlap.decide(schedule.overlap, due.ticks, earlier)
        if decision.wait:
            # Its ticks stay undecided, and it does not stand before others meanwhile.
            return Tick(row, row.cursor, now + min(LONGEST_WAIT, max(LOOK, (now - due.ticks[-1]) / 8)))
        for run in decision.cancel:
            self._service.orders.cancel(run, by=f"schedule {row.slug}")
        return Tick(row, due.cursor, due.next_tick, order_of(row, schedule, decision.ticks))

    def _earlier(self, row: ScheduleRow) -> dict[str, float]:
        """Return the tick of each run of a schedule that is not over."""
        orders = open_orders(self._service.orders, row.deployment, row.id)
        return {order.run: ticks.tick_of(order.key) for order in orders}

    def _moved(self, decided: Sequence[Tick], now: float) -> int:
        """Carry out what was decided; returns for how many schedules that was done."""
        try:
            return sum(self._service.schedules.tick_all(decided))
        except (AccessError, UnreachableError):
            raise
        except ServiceError as error:
            if len(decided) > 1:
                return sum(self._moved([one], now) for one in decided)
            [one] = decided
            if not one.orders:
                return 0
            self._tell(one.schedule, f"is looked at again in {REFUSED:.0f} s: {error}")
            return self._moved([Tick(one.schedule, one.schedule.cursor, now + REFUSED)], now)

    def _tell(self, row: ScheduleRow, what: str) -> None:
        if self._told.get(row.id) != what:
            self._told[row.id] = what
            logger.warning("the schedule %r of deployment %s %s", row.slug, row.deployment, what)


def _ahead(schedule: Schedule, tick: float | None) -> float:
    """Return how long before a tick its run is ordered: by short steps, not many runs that an end would cancel."""
    if schedule.overlap != "allow" or tick is None:
        return 0.0
    following = schedule.after(tick)
    return AHEAD if following is None else min(AHEAD, max(SHORTEST_AHEAD, following - tick))


def order_of(row: ScheduleRow, schedule: Schedule, instants: Iterable[float]) -> list[NewOrder]:
    """Return the orders of a schedule's ticks; a second one of the same tick is the first one."""
    return [
        NewOrder(
            row.deployment,
            ticks.key(row.id, tick),
            due=tick + ticks.delay(schedule, row.id, tick),
            parameters=dict(row.parameters),
            by=f"schedule {row.slug}",
            schedule=row.id,
        )
        for tick in instants
    ]


def backfill(service: Service, row: ScheduleRow, start: float, end: float) -> list[str]:
    """Order the runs of all ticks of a time, and return the new ones; ticks that have had a run get no second one.

    Args:
        start: Unix seconds, as `end`; both are included.

    Raises:
        ServiceError: there are more than 1,000 ticks; or the service refuses the orders.
    """
    schedule = parse(row.spec)
    orders = order_of(row, schedule, ticks.backfill(schedule, start, end))
    return [ordered.run for ordered in service.orders.add(orders) if ordered.new] if orders else []
