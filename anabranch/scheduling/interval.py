"""Intervals: every so many seconds of real time, or every so many days at the same local time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from anabranch.core import option_checks
from anabranch.core.errors import ServiceError
from anabranch.scheduling import local_time
from anabranch.scheduling.schedule import DAY, Schedule, duration

if TYPE_CHECKING:
    from datetime import tzinfo

SHORTEST = 1.0  # seconds
LONGEST = 50 * 366 * DAY
ANCHOR = datetime(2020, 1, 1)


@dataclass(frozen=True)
class Interval(Schedule):
    """A schedule of equal steps from an anchor, both ways.

    Whole days keep their local time when clocks change; every other interval is real time.

    Args:
        interval: seconds, at least one; or a timedelta.
        anchor_date: a moment that it ticks at, as datetime or ISO text, without an offset by the clocks of the zone.
            Left out, it is midnight of 2020-01-01 there, so that a schedule deployed again ticks when it did before.
        timezone: such as "Europe/Berlin"; None: that of the anchor, where it has a name, else UTC.

    Raises:
        ServiceError: the interval is below a second, the anchor no time, or there is no such time zone.
    """

    kind: ClassVar[str] = "interval"
    interval: float | timedelta
    anchor_date: date | str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        step = duration(self.interval, "interval")
        if not SHORTEST <= step <= LONGEST:
            raise ServiceError(f"an interval of {step:g} seconds: it is at least one second and at most 50 years")
        anchor = self.anchor_date
        name = option_checks.zone_name(anchor.tzinfo) if isinstance(anchor, datetime) else None
        zone = local_time.zone(self.timezone or name or "UTC")
        written = anchor.isoformat() if isinstance(anchor, date) else anchor  # a datetime is a date
        if written is not None:
            local_time.read(written, "anchor_date", zone)
        for field, value in {"interval": step, "timezone": self.timezone or name, "anchor_date": written}.items():
            object.__setattr__(self, field, value)

    def after(self, instant: float) -> float | None:
        zone = local_time.zone(self.timezone or "UTC")
        anchor = ANCHOR if self.anchor_date is None else self.anchor_date
        step = duration(self.interval, "interval")
        if step % DAY:
            return _by_real_time(local_time.moment(anchor, "anchor_date", zone), step, instant)
        return _by_days(local_time.read(anchor, "anchor_date", zone), timedelta(seconds=step), zone, instant)


def _by_real_time(start: float, step: float, instant: float) -> float:
    """Counts in whole microseconds, so that a tick is the same number from wherever it is computed."""
    first, width = round(start * 1e6), round(step * 1e6)
    return (first + ((round(instant * 1e6) - first) // width + 1) * width) / 1e6


def _by_days(start: datetime, step: timedelta, zone: tzinfo, instant: float) -> float:
    time = start + ((local_time.local(instant, zone) - start) // step + 1) * step
    while (tick := local_time.resolve(time, zone)) <= instant:
        time += step
    return tick
