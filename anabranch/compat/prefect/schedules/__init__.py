"""Prefect 3's schedules, and those of Prefect 1 under the same names.

    Cron, Interval, RRule          Prefect 3
    Schedule(interval=...)         Prefect 3
    Schedule(clocks=[...])         Prefect 1, as IntervalSchedule and CronSchedule with a `start_date`
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = ["Cron", "CronClock", "CronSchedule", "Interval", "IntervalClock", "IntervalSchedule", "RRule", "Schedule"]


@dataclass(frozen=True)
class Schedule:
    """When runs are ordered: one rule, or of Prefect 1 several clocks."""

    clocks: Any = None
    filters: Any = None
    or_filters: Any = None
    not_filters: Any = None
    adjustments: Any = None
    interval: Any = None
    cron: str | None = None
    rrule: str | None = None
    timezone: str | None = None
    anchor_date: Any = None
    day_or: bool | None = None
    active: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)
    slug: str | None = None

    def __post_init__(self) -> None:
        if self.filters or self.or_filters or self.not_filters or self.adjustments:
            raise NotImplementedError(
                "anabranch has no filters and adjustments of schedules: a cron or an RRule says the days and hours"
            )


def Cron(
    cron: str, /, timezone: str | None = None, day_or: bool | None = None, active: bool = True,
    parameters: dict[str, Any] | None = None, slug: str | None = None,
) -> Schedule:  # fmt: skip
    """Return a schedule by cron fields."""
    return Schedule(cron=cron, timezone=timezone, day_or=day_or, active=active, parameters=parameters or {}, slug=slug)


def Interval(
    interval: timedelta | float, /, anchor_date: datetime | str | None = None, timezone: str | None = None,
    active: bool = True, parameters: dict[str, Any] | None = None, slug: str | None = None,
) -> Schedule:  # fmt: skip
    """Return a schedule of equal steps."""
    return Schedule(
        interval=interval, anchor_date=anchor_date, timezone=timezone, active=active, parameters=parameters or {},
        slug=slug,
    )  # fmt: skip


def RRule(
    rrule: str, /, timezone: str | None = None, active: bool = True, parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> Schedule:  # fmt: skip
    """Return a schedule by a rule of RFC 5545."""
    return Schedule(rrule=rrule, timezone=timezone, active=active, parameters=parameters or {}, slug=slug)


# -- Prefect 1 -----------------------------------------------------------------------------------


def IntervalClock(
    interval: timedelta, start_date: datetime | None = None, end_date: datetime | None = None,
    parameter_defaults: dict[str, Any] | None = None, labels: Any = None,
) -> Schedule:  # fmt: skip
    """Return a schedule of equal steps."""
    _refuse(end_date, labels)
    return Interval(interval, anchor_date=start_date, parameters=parameter_defaults)


def CronClock(
    cron: str, start_date: datetime | None = None, end_date: datetime | None = None,
    parameter_defaults: dict[str, Any] | None = None, labels: Any = None, day_or: bool | None = None,
) -> Schedule:  # fmt: skip
    """Return a schedule by cron fields, in the zone of its start."""
    _refuse(end_date, labels)
    zone = getattr(getattr(start_date, "tzinfo", None), "key", None)
    return Cron(cron, timezone=zone, day_or=day_or, parameters=parameter_defaults)


def IntervalSchedule(
    start_date: datetime | None = None, interval: timedelta | None = None, end_date: datetime | None = None,
) -> Schedule:  # fmt: skip
    """Return a schedule of equal steps."""
    if interval is None:
        raise ValueError("IntervalSchedule needs an interval")
    return Schedule(clocks=[IntervalClock(interval, start_date, end_date)])


def CronSchedule(
    cron: str, start_date: datetime | None = None, end_date: datetime | None = None, day_or: bool | None = None,
) -> Schedule:  # fmt: skip
    """Return a schedule by cron fields."""
    return Schedule(clocks=[CronClock(cron, start_date, end_date, day_or=day_or)])


def _refuse(end_date: Any, labels: Any) -> None:
    if end_date is not None or labels:
        raise NotImplementedError("schedules of anabranch have no end_date and no labels: delete one at its end")
