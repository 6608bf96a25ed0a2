"""Prefect's schedules, as its API has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = ["SCHEDULE_TYPES", "CronSchedule", "IntervalSchedule", "RRuleSchedule"]


@dataclass
class CronSchedule:
    """Cron fields, or a nickname such as "@daily"."""

    cron: str
    timezone: str | None = None
    day_or: bool = True


@dataclass
class IntervalSchedule:
    """Every so often from an anchor."""

    interval: timedelta | float
    anchor_date: datetime | str | None = None
    timezone: str | None = None


@dataclass
class RRuleSchedule:
    """A rule of RFC 5545."""

    rrule: str
    timezone: str | None = None


SCHEDULE_TYPES = CronSchedule | IntervalSchedule | RRuleSchedule
