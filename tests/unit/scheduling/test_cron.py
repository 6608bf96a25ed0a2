"""Cron against a slow reference, which walks through local time minute by minute; and its messages."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.core.errors import ServiceError
from anabranch.scheduling import Cron, upcoming

ZONES = [
    "America/New_York", "Europe/Berlin", "Europe/London", "Australia/Sydney", "Australia/Lord_Howe", "Asia/Kolkata",
]  # fmt: skip
RANGES = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, set[int]]:
    """A field of a cron, and the numbers it stands for."""
    form = draw(st.sampled_from(["*", "*", "one", "list", "range", "step", "ranged step"]))
    first, second = sorted(draw(st.tuples(st.integers(low, high), st.integers(low, high))))
    second = max(second, low + 1)
    step = draw(st.integers(1, 20))
    return {
        "*": ("*", set(range(low, high + 1))),
        "one": (f"{first}", {first}),
        "list": (f"{first},{second}", {first, second}),
        "range": (f"{first}-{second}", set(range(first, second + 1))),
        "step": (f"*/{step}", set(range(low, high + 1, step))),
        "ranged step": (f"{low}-{second}/{step}", set(range(low, (second) + 1, step))),
    }[form]


@st.composite
def crons(draw: st.DrawFn) -> tuple[str, list[set[int]]]:
    drawn = [draw(fields(*bounds)) for bounds in RANGES]
    return " ".join(text for text, _ in drawn), [numbers for _, numbers in drawn]


def matches(text: str, numbers: list[set[int]], shown: datetime) -> bool:
    _, _, month_day, _, weekday = text.split()
    by_month_day, by_weekday = shown.day in numbers[2], (shown.weekday() + 1) % 7 in numbers[4]
    if month_day.startswith("*") or weekday.startswith("*"):
        day = by_month_day and by_weekday
    else:
        day = by_month_day or by_weekday
    return day and shown.month in numbers[3] and shown.hour in numbers[1] and shown.minute in numbers[0]


def walked(text: str, numbers: list[set[int]], zone: ZoneInfo, start: datetime, minutes: int) -> list[float]:
    """Walk minute by minute through real time, and through the local times that each step skips."""
    minute, hour = text.split()[:2]
    rhythm = any(sign in minute + hour for sign in "*/")
    ticks, seen = [], start.astimezone(zone).replace(tzinfo=None)
    for number in range(1, minutes + 1):
        now = start + timedelta(minutes=number)
        shown = now.astimezone(zone).replace(tzinfo=None)
        if rhythm:
            hit = matches(text, numbers, shown)
        else:  # each local time once, when the clocks have reached it
            hit = False
            while seen < shown:
                seen += timedelta(minutes=1)
                hit = matches(text, numbers, seen) or hit
        if hit:
            ticks.append(now.timestamp())
    return ticks


DAYS = [  # around changes of clocks, and far from them
    datetime(2026, 3, 7), datetime(2026, 3, 28), datetime(2026, 4, 4), datetime(2026, 7, 30),
    datetime(2026, 10, 3), datetime(2026, 10, 24), datetime(2026, 10, 31), datetime(2027, 12, 30),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(crons(), st.sampled_from(ZONES), st.sampled_from(DAYS), st.integers(0, 23))
def test_ticks_are_those_of_a_walk(cron: tuple[str, list[set[int]]], name: str, day: datetime, hour: int) -> None:
    text, numbers = cron
    start = (day + timedelta(hours=hour)).replace(tzinfo=UTC)
    try:
        schedule = Cron(text, timezone=name)
    except ServiceError:  # which days never meet is the subject of another test
        assert walked(text, numbers, ZoneInfo(name), start, 36 * 60) == []
        return
    expected = walked(text, numbers, ZoneInfo(name), start, 36 * 60)
    found = upcoming(schedule, start.timestamp(), len(expected) + 1)
    assert found[: len(expected)] == expected
    assert not found[len(expected) :] or found[-1] > start.timestamp() + 36 * 3600


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("0 0 13 * FRI", {}, ["2026-02-06", "2026-02-13", "2026-02-20"]),
        ("0 0 13 * FRI", {"day_or": False}, ["2026-02-13", "2026-03-13", "2026-11-13"]),
        ("0 0 L * *", {}, ["2026-02-28", "2026-03-31", "2026-04-30"]),
        ("0 0 * * 5L", {}, ["2026-02-27", "2026-03-27", "2026-04-24"]),
        ("0 0 * * 1#2", {}, ["2026-02-09", "2026-03-09", "2026-04-13"]),
        ("0 0 29 2 *", {}, ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("0 0 * 2 MON#5", {}, ["2044-02-29", "2072-02-29"]),
        ("@monthly", {}, ["2026-03-01", "2026-04-01", "2026-05-01"]),
        (" 0  0 1 jan * ", {}, ["2027-01-01", "2028-01-01", "2029-01-01"]),
    ],
)
def test_days(text: str, options: dict[str, Any], expected: list[str]) -> None:
    ticks = upcoming(Cron(text, **options), datetime(2026, 2, 3, tzinfo=UTC).timestamp(), len(expected))
    assert [datetime.fromtimestamp(tick, UTC).date().isoformat() for tick in ticks] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("61 * * * *", "the minute '61' is not of 0-59"),
        ("* 24 * * *", "the hour '24' is not of 0-23"),
        ("* * 0 * *", "the day of the month '0' is not of 1-31"),
        ("* * * 13 *", "the month '13' is not of 1-12 or JAN-DEC"),
        ("* * * * MOON", "the day of the week 'MOON' is not of 0-7 or SUN-SAT"),
        ("*/0 * * * *", "the minute '*/0'"),
        ("5-1 * * * *", "the minute '5-1'"),
        ("1,,2 * * * *", "the minute '1,,2'"),
        ("* * * *", "has 4 fields, where it takes five: minute, hour"),
        ("", "has 0 fields"),
        ("0 * * * * *", "has six fields"),
        ("1 2 3 4 5 6 7", "has 7 fields"),
        ("1," * 1000 + "1 * * * *", "longer than 500"),
        ("@dayly", "did you mean '@daily'?"),
        ("0 0 31 2 *", "never fires"),
        ("0 0 30,31 2 *", "never fires"),
        ("* * */20 * 1L", "never fires"),
    ],
)
def test_bad_ones_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        Cron(text)
    assert message in str(caught.value)


def test_days_that_never_meet_are_found_out() -> None:
    with pytest.raises(ServiceError, match="never fires"):
        Cron("0 0 30 2 1", day_or=False)


def test_the_rarest_ones_cost_little() -> None:
    """The bound is generous: a search day by day through all centuries takes seconds."""
    before = time.process_time()
    for number in range(20):
        assert Cron(f"{number} 0 * 2 MON#5").after(0.0) is not None
    assert time.process_time() - before < 2.0


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Berlim", "did you mean 'Europe/Berlin'?"),
        ("berlin", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("../../etc/passwd", "names are as in"),
        ("Europe", "there is no time zone 'Europe'"),
        ("\0", "there is no time zone"),
    ],
)
def test_unknown_zones_name_the_nearest(zone: str, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        Cron("0 0 * * *", timezone=zone)
    assert message in str(caught.value)
