"""One rule of a recurrence (RFC 5545), expanded: the occurrences that follow a moment, with bounded work.

Rules by day, week, month and year are expanded in local time, period after period: a period's days that fit, times its
times. Rules by hour, minute and second step through real time from their start; what they name of days and
hours is then what the clocks show. A rule has no further occurrence when the next 50 years have none.
"""

from __future__ import annotations

import calendar
from bisect import bisect_right
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from anabranch.scheduling import local_time
from anabranch.scheduling.schedule import YEARS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY = range(7)
STEPS = 50_000  # in real time without an occurrence: then there is none
_PERIOD = {HOURLY: 3600, MINUTELY: 60, SECONDLY: 1}
_ONE_DAY = timedelta(days=1)


class Rule(NamedTuple):
    """A rule that has been read; an empty tuple lets everything pass.

    Attributes:
        start: local time.
        until: the last local time it may have; None: none.
        last: the same as an instant.
        week_start: 0 is Monday, as in `nth` and `weekdays`.
        nth: (weekday, n): the n-th in the month or year, from its end where n is below 0.
        positions: which of a period's occurrences count, from 1; from its end where below 0.
    """

    frequency: int
    start: datetime
    interval: int = 1
    until: datetime | None = None
    last: float | None = None
    week_start: int = 0
    months: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    weekdays: tuple[int, ...] = ()
    nth: tuple[tuple[int, int], ...] = ()
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()


def occurrences(rule: Rule, zone: tzinfo, after: float) -> Iterator[float]:
    """Yield the instants of a rule that are later than an instant."""
    if rule.frequency >= HOURLY:
        yield from _in_real_time(rule, zone, after)
        return
    for shown in _in_local_time(rule, local_time.local(after, zone)):
        tick = local_time.resolve(shown, zone)
        if tick > after:
            yield tick


# -- by local time ---------------------------------------------------------------------------------


def _in_local_time(rule: Rule, after: datetime) -> Iterator[datetime]:
    """Yield occurrences later than a local time, in order."""
    number = max(0, _number(rule, after.date()) // rule.interval)
    quiet = max(after, rule.start).date()  # the last day known to have had one
    times = [timedelta(hours=h, minutes=m, seconds=s) for h in rule.hours for m in rule.minutes for s in rule.seconds]
    times.sort()
    while True:
        days = _period(rule, number * rule.interval)
        if days[0].year > quiet.year + YEARS or days[0].year >= local_time.LATEST.year:
            return
        if rule.until is not None and days[0] > rule.until.date():
            return
        for found in _of_period(rule, [day for day in days if _fits(rule, day)], times, after):
            if rule.until is not None and found > rule.until:
                return
            if found >= rule.start:
                quiet = found.date()
                yield found
        number += 1


def _of_period(rule: Rule, days: list[date], times: list[timedelta], after: datetime) -> Iterator[datetime]:
    if rule.positions:
        every = [datetime.combine(day, time()) + of_day for day in days for of_day in times]
        places = {p - 1 if p > 0 else len(every) + p for p in rule.positions}
        yield from (found for place, found in enumerate(every) if place in places and found > after)
        return
    for day in days:
        midnight = datetime.combine(day, time())
        if midnight + _ONE_DAY > after:
            yield from (midnight + of_day for of_day in times[bisect_right(times, after - midnight) :])


def _number(rule: Rule, day: date) -> int:
    """Return how many periods a day stands behind the start, whatever the interval."""
    start = rule.start.date()
    if rule.frequency == YEARLY:
        return day.year - start.year
    if rule.frequency == MONTHLY:
        return (day.year - start.year) * 12 + day.month - start.month
    if rule.frequency == WEEKLY:
        return (_week_start(day, rule.week_start) - _week_start(start, rule.week_start)).days // 7
    return (day - start).days


def _period(rule: Rule, number: int) -> list[date]:
    """Return the days of a period."""
    start = rule.start.date()
    if rule.frequency == YEARLY:
        first = date(start.year + number, 1, 1)
        length = 366 if calendar.isleap(first.year) else 365
    elif rule.frequency == MONTHLY:
        months = start.year * 12 + start.month - 1 + number
        first = date(months // 12, months % 12 + 1, 1)
        length = calendar.monthrange(first.year, first.month)[1]
    elif rule.frequency == WEEKLY:
        first, length = _week_start(start, rule.week_start) + timedelta(weeks=number), 7
    else:
        first, length = start + timedelta(days=number), 1
    return [first + timedelta(days=place) for place in range(length)]


def _week_start(day: date, first: int) -> date:
    return day - timedelta(days=(day.weekday() - first) % 7)


# -- days that fit ---------------------------------------------------------------------------------


def _fits(rule: Rule, day: date) -> bool:
    return (
        (not rule.months or day.month in rule.months)
        and (not rule.month_days or _fits_month(rule, day))
        and (not (rule.weekdays or rule.nth) or day.weekday() in rule.weekdays or _fits_nth(rule, day))
        and (not rule.year_days or _fits_year(rule, day))
        and (not rule.weeks or _fits_week(rule, day))
    )


def _fits_month(rule: Rule, day: date) -> bool:
    from_end = day.day - calendar.monthrange(day.year, day.month)[1] - 1
    return day.day in rule.month_days or from_end in rule.month_days


def _fits_year(rule: Rule, day: date) -> bool:
    number = day.timetuple().tm_yday
    return number in rule.year_days or number - (366 if calendar.isleap(day.year) else 365) - 1 in rule.year_days


def _fits_nth(rule: Rule, day: date) -> bool:
    """A rule by year without months counts weekdays in the year, any other in the month."""
    if rule.frequency == YEARLY and not rule.months:
        number, length = day.timetuple().tm_yday, 366 if calendar.isleap(day.year) else 365
    else:
        number, length = day.day, calendar.monthrange(day.year, day.month)[1]
    weekday = day.weekday()
    return (weekday, (number - 1) // 7 + 1) in rule.nth or (weekday, -((length - number) // 7 + 1)) in rule.nth


def _fits_week(rule: Rule, day: date) -> bool:
    """Week 1 is the first with four days in its year."""
    middle = _week_start(day, rule.week_start) + timedelta(days=3)
    number, length = middle.timetuple().tm_yday, 366 if calendar.isleap(middle.year) else 365
    return (number - 1) // 7 + 1 in rule.weeks or -((length - number) // 7 + 1) in rule.weeks


# -- by real time ----------------------------------------------------------------------------------


def _in_real_time(rule: Rule, zone: tzinfo, after: float) -> Iterator[float]:
    """Yield occurrences later than an instant, in order."""
    start = local_time.resolve(rule.start, zone)
    into = {HOURLY: rule.start.minute * 60 + rule.start.second, MINUTELY: rule.start.second, SECONDLY: 0}
    base, step = start - into[rule.frequency], rule.interval * _PERIOD[rule.frequency]
    offsets = _offsets(rule)
    number, quiet = max(0, int((after - base) // step)), 0
    while quiet < STEPS:
        quiet += 1
        period = base + number * step
        if (rule.last is not None and period > rule.last) or period > local_time.seconds(local_time.LATEST):
            return
        onward = _next_that_fits(rule, zone, period)
        if onward is None:
            return
        if onward > period:
            number = max(number + 1, -int((base - onward) // step))
            continue
        for tick in (period + offset for offset in offsets):
            if rule.last is not None and tick > rule.last:
                return
            if tick > after and tick >= start:
                quiet = 0
                yield tick
        number += 1


def _offsets(rule: Rule) -> list[int]:
    """Return where in a period occurrences lie, in seconds."""
    if rule.frequency == HOURLY:
        return sorted(minute * 60 + second for minute in rule.minutes for second in rule.seconds)
    return sorted(rule.seconds) if rule.frequency == MINUTELY else [0]


def _next_that_fits(rule: Rule, zone: tzinfo, period: float) -> float | None:
    """Return a period's instant if what clocks show at it fits the rule, else the earliest later one that may."""
    shown = local_time.local(period, zone)
    if not _fits(rule, shown.date()):
        day = _next_day(rule._replace(start=datetime.min, until=None), shown.date())
        return None if day is None else max(period + 1, local_time.resolve(datetime.combine(day, time()), zone))
    if rule.hours and shown.hour not in rule.hours:
        return period + 3600 - shown.minute * 60 - shown.second
    if rule.frequency == HOURLY:
        return period
    if rule.minutes and shown.minute not in rule.minutes:
        return period + 60 - shown.second
    if rule.frequency == SECONDLY and rule.seconds and shown.second not in rule.seconds:
        return period + 1
    return period


@lru_cache(maxsize=256)
def _next_day(rule: Rule, after: date) -> date | None:
    day, end = after + _ONE_DAY, after.year + YEARS
    while not _fits(rule, day):
        day += _ONE_DAY
        if day.year > end:
            return None
    return day
