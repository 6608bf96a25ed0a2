"""Local times as instants: what becomes of a time that a clock skips, and of one that it shows twice.

An instant is a number of Unix seconds. A *local time* is a naive datetime in a zone. Clocks that go forward skip local
times, the **gap**: such a time stands for the first instant after it. Clocks that go back show local times twice, the
**repeat**: such a time stands for the first of the two.
"""

from __future__ import annotations

import math
import zoneinfo
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

from anabranch.core.errors import ServiceError
from anabranch.core.nearest import nearest

EARLIEST = datetime(1900, 1, 1)
LATEST = datetime(2200, 1, 1)
_EPOCH = datetime(1970, 1, 1)
_ONE_DAY = timedelta(days=1)
_MOST_OFFSET = 26 * 3600.0  # of a zone, in seconds
_MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo:
    """Return the time zone of this name.

    Raises:
        ServiceError: there is none; names the nearest.
    """
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ServiceError(f"there is no time zone {name!r}: {_way_out(name)}") from None


def _way_out(name: str) -> str:
    known = zoneinfo.available_timezones()
    if not known:
        return "this machine has no data of time zones; pip install tzdata brings them"
    cities = {place.rpartition("/")[2].lower(): place for place in sorted(known)}
    wanted = name.replace(" ", "_")
    exact = {place.lower(): place for place in known}.get(wanted.lower()) or cities.get(wanted.lower())
    near = exact or nearest(wanted, sorted(known))
    return f"did you mean {near!r}?" if near else "names are as in 'Europe/Berlin'"


def local(instant: float, zone: tzinfo) -> datetime:
    """Return what the clocks of a zone show at an instant."""
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0)


def resolve(time: datetime, zone: tzinfo) -> float:
    """Return the instant that a local time stands for; a later local time never stands for an earlier instant."""
    if zone is UTC:
        return seconds(time)
    instant = time.replace(tzinfo=zone, fold=0).timestamp()
    return instant if local(instant, zone) == time else _end_of_gap(time, zone)


class Stretch(NamedTuple):
    """A stretch of real time, without its end, in which clocks run evenly: local time less offset is the instant."""

    start: float
    end: float
    offset: float


@lru_cache(maxsize=4096)
def stretches(day: datetime, zone: tzinfo) -> tuple[Stretch, ...]:
    """Return the stretches, in order, that a date may have a part in; the most common answer is one."""
    first, last = seconds(day) - _MOST_OFFSET, seconds(day + _ONE_DAY) + _MOST_OFFSET
    found, start, offset = [], first, _offset_at(first, zone)
    now = first
    while now < last:
        now += 3600.0
        if (new := _offset_at(now, zone)) != offset:
            change = _change(now - 3600.0, now, zone)
            found.append(Stretch(start, change, offset))
            start, offset = change, new
    return (*found, Stretch(start, last, offset))


def seconds(time: datetime) -> float:
    """Return a local time as if it were UTC."""
    return microseconds(time) / 1e6


def microseconds(time: datetime) -> int:
    """Return a local time as if it were UTC, in microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def _end_of_gap(time: datetime, zone: tzinfo) -> float:
    """Return the instant at which the clocks skip a local time."""
    # Read with the offset before the gap it lies behind the change, with the offset after it, before.
    after, before = (math.floor(time.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    return _change(before - 1, after + 1, zone)


def _offset_at(instant: float, zone: tzinfo) -> float:
    return (datetime.fromtimestamp(instant, zone).utcoffset() or timedelta(0)).total_seconds()


def _change(low: float, high: float, zone: tzinfo) -> float:
    """Return the first instant with another offset than `low` has, to the second; `high` has another."""
    before = _offset_at(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_at(middle, zone) == before:
            low = middle
        else:
            high = middle
    return float(high)


def read(text: object, name: str, home: tzinfo) -> datetime:
    """Return a time as people write it, a datetime or ISO text with or without an offset, as local time of a zone.

    Raises:
        ServiceError: it is no time, or stands outside the years 1900 to 2200.
    """
    time = _written(text, name)
    return time.replace(fold=0) if time.tzinfo is None else local(time.timestamp(), home)


def moment(text: object, name: str, home: tzinfo) -> float:
    """Return the instant of a time as people write it; without an offset, it is local time of a zone."""
    time = _written(text, name)
    return resolve(time.replace(fold=0), home) if time.tzinfo is None else time.timestamp()


def _written(text: object, name: str) -> datetime:
    time = text
    if isinstance(text, str):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise ServiceError(f"{name} {text!r} is no time: write it as 2026-01-31T09:00") from None
    if not isinstance(time, datetime):
        raise ServiceError(f"{name} {text!r} is no time: give a datetime, or text such as 2026-01-31T09:00")
    if not EARLIEST <= time.replace(tzinfo=None) < LATEST:
        raise ServiceError(f"{name} {time.isoformat()} stands outside the years 1900 to 2200")
    return time
