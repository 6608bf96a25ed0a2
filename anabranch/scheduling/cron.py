"""Cron: minutes and hours of a day, on days by month, week and weekday, as the clocks of a zone show them.

Where minutes and hours are numbers, they name times of a day: one that the clocks skip comes after the gap, one that
they show twice comes once. With `*` or `/n` among them, they name a rhythm: it has nothing in a gap, and goes on in
a repeat. Days follow Debian's cron, as cronsim reads them.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from cronsim import CronSim, CronSimError

from anabranch.core.errors import ServiceError
from anabranch.core.nearest import meant
from anabranch.scheduling import local_time
from anabranch.scheduling.schedule import YEARS, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day of the month": "1-31, or L for the last",
    "month": "1-12 or JAN-DEC",
    "day of the week": "0-7 or SUN-SAT, 5L for the last Friday, 1#2 for the second Monday",
}
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
LONGEST = 500  # characters
_ONE_DAY = timedelta(days=1)
_ALL = ["*"] * len(FIELDS)


@dataclass(frozen=True)
class Cron(Schedule):
    """A schedule of five cron fields: minute, hour, day of the month, month, day of the week.

    Args:
        cron: such as "*/15 9-17 * * MON-FRI", or a nickname such as "@daily".
        timezone: of the clocks that it goes by, such as "Europe/Berlin"; None: UTC.
        day_or: where both kinds of days are given, whether a day that fits one is enough. One that begins with "*"
            is not given, even "*/2".

    Raises:
        ServiceError: a field cannot be read, the cron never fires, or there is no such time zone.
    """

    kind: ClassVar[str] = "cron"
    cron: str
    timezone: str | None = None
    day_or: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.cron, str):
            raise ServiceError(f"cron {self.cron!r} is no text: write five fields, such as '0 9 * * MON-FRI'")
        if not isinstance(self.day_or, bool):
            raise ServiceError(f"day_or of cron {self.cron!r} is true or false; not {self.day_or!r}")
        local_time.zone(self.timezone or "UTC")
        if next(_read(self.cron, self.day_or).days(datetime(2000, 1, 1)), None) is None:
            raise ServiceError(f"cron {self.cron!r} never fires: no month has such a day")

    def after(self, instant: float) -> float | None:
        fields, zone = _read(self.cron, self.day_or), local_time.zone(self.timezone or "UTC")
        days = fields.days(datetime.combine(local_time.local(instant, zone) - _ONE_DAY, datetime.min.time()))
        for day in days:
            found = fields.first(day, zone, instant)
            if found is None:
                continue
            if len(local_time.stretches(day, zone)) == 1 or not fields.has(day + _ONE_DAY):
                return found
            # Clocks that go back over midnight show the end of this day once more after the next has begun.
            tomorrow = fields.first(day + _ONE_DAY, zone, instant)
            return found if tomorrow is None else min(found, tomorrow)
        return None


class _Fields(NamedTuple):
    """A cron that has been read."""

    sim: CronSim
    times: tuple[int, ...]  # seconds since midnight
    rhythm: bool

    def has(self, day: datetime) -> bool:
        return day.month in self.sim.months and self.sim.match_day(day.date())

    def days(self, first: datetime) -> Iterator[datetime]:
        """Yield days that fit, none later than some years after the one before."""
        day, end = first, first.year + YEARS
        while day.year <= end:
            if day.month not in self.sim.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if self.sim.match_day(day.date()):
                yield day
                end = day.year + YEARS
            day += _ONE_DAY

    def first(self, day: datetime, zone: tzinfo, instant: float) -> float | None:
        """Return the first tick of a day that is later than an instant."""
        even = local_time.stretches(day, zone)
        if len(even) > 1 and not self.rhythm:
            place = bisect_right(self.times, instant, key=lambda time: local_time.resolve(_at(day, time), zone))
            return local_time.resolve(_at(day, self.times[place]), zone) if place < len(self.times) else None
        for start, end, offset in even:
            midnight = local_time.seconds(day) - offset
            place = bisect_right(self.times, max(instant, start - 0.5) - midnight)
            if place < len(self.times) and midnight + self.times[place] < end:
                return midnight + self.times[place]
        return None


def _at(day: datetime, time: int) -> datetime:
    return day + timedelta(seconds=time)


@lru_cache(maxsize=4096)
def _read(cron: str, day_or: bool) -> _Fields:
    text = cron.strip()
    if text.startswith("@"):
        if text.lower() not in NICKNAMES:
            raise ServiceError(f"there is no cron {text!r}{meant(text.lower(), NICKNAMES)}")
        text = NICKNAMES[text.lower()]
    fields = text.split()
    if len(fields) == len(FIELDS) + 1:
        raise ServiceError(f"cron {cron!r} has six fields, and five are known: {', '.join(FIELDS)}; seconds: Interval")
    if len(text) > LONGEST:
        raise ServiceError(f"cron {cron[:40]!r}... is longer than {LONGEST} characters")
    if len(fields) != len(FIELDS):
        raise ServiceError(f"cron {cron!r} has {len(fields)} fields, where it takes five: {', '.join(FIELDS)}")
    for place, (name, allowed) in enumerate(FIELDS.items()):
        try:
            CronSim(" ".join([*_ALL[:place], fields[place], *_ALL[place + 1 :]]), datetime(2000, 1, 1, tzinfo=UTC))
        except (CronSimError, ValueError, AssertionError, TypeError):
            raise ServiceError(f"cron {cron!r}: the {name} {fields[place]!r} is not of {allowed}") from None
    return _fields(cron, fields, day_or)


def _fields(cron: str, fields: list[str], day_or: bool) -> _Fields:
    try:
        sim = CronSim(" ".join(fields), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:  # all fields are fine, so their days never meet
        raise ServiceError(f"cron {cron!r} never fires: no month has such a day") from None
    sim.day_and = sim.day_and or not day_or
    rhythm = any("*" in field or "/" in field for field in fields[:2])
    times = sorted(hour * 3600 + minute * 60 for hour in sim.hours for minute in sim.minutes)
    return _Fields(sim, tuple(times), rhythm)
