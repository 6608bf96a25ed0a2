"""Which ticks are due: each once, in order, however the time is divided into calls; and what is made up for."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.core.errors import ServiceError
from anabranch.scheduling import Cron, Interval, RRule, Schedule, backfill, due, parse, upcoming
from anabranch.scheduling import overlap as overlaps
from anabranch.scheduling.ticks import delay, key, tick_of

HOUR, DAY = 3600.0, 86_400.0
ZONES = [
    None, "America/New_York", "Europe/Berlin", "Europe/London", "Australia/Sydney", "Australia/Lord_Howe",
    "Asia/Kolkata",
]  # fmt: skip
SPECS: list[dict[str, Any]] = [
    {"cron": "*/20 * * * *"},
    {"cron": "30 1,2 * * *"},
    {"cron": "0 9-17/2 * * MON-FRI"},
    {"cron": "15 2 L * *"},
    {"interval": 2700},
    {"interval": 5400.25, "anchor_date": "2026-01-01T00:00:00.125"},
    {"interval": DAY, "anchor_date": "2026-01-01T02:30"},
    {"interval": 2 * DAY, "anchor_date": "2030-01-01T01:30"},
    {"rrule": "FREQ=DAILY;BYHOUR=1,2;BYMINUTE=0,30"},
    {"rrule": "FREQ=HOURLY;INTERVAL=5;BYMINUTE=10,50"},
    {"rrule": "DTSTART:20260301T013000\nRRULE:FREQ=DAILY;COUNT=30\nEXDATE:20260308T013000"},
    {"rrule": "FREQ=MINUTELY;INTERVAL=90;BYHOUR=1,2,3"},
]
SCHEDULES = st.builds(
    lambda spec, zone: parse({**spec, "timezone": zone, "catchup": "all"}),
    st.sampled_from(SPECS),
    st.sampled_from(ZONES),
)
STARTS = [  # before changes of clocks, and far from them
    datetime(2026, month, day, tzinfo=UTC).timestamp()
    for month, day in [(3, 7), (3, 28), (4, 3), (7, 1), (10, 2), (10, 23), (10, 31)]
]


@settings(max_examples=120, deadline=None)
@given(
    SCHEDULES,
    st.sampled_from(STARTS),
    st.lists(st.floats(0.0, 3 * DAY), max_size=12),
    st.sampled_from([0.0, 10.0, 7200.0]),
)
def test_ticks_are_the_same_however_time_is_divided(
    schedule: Schedule, start: float, moments: list[float], ahead: float
) -> None:
    end = start + 3 * DAY
    once = due(schedule, start, end, ahead=ahead)
    found, cursor, expected_next = [], start, once.next_tick
    for now in [*sorted(start + moment for moment in moments), end]:
        answer = due(schedule, cursor, now, ahead=ahead)
        assert all(cursor < tick <= now + ahead for tick in answer.ticks)
        assert answer.next_tick is None or answer.next_tick > answer.cursor
        found += answer.ticks
        cursor, expected_next = answer.cursor, answer.next_tick
    assert found == list(once.ticks)
    assert all(earlier < later for earlier, later in pairwise(found))
    assert (cursor, expected_next) == (once.cursor, once.next_tick)
    assert found == [tick for tick in upcoming(schedule, start, len(found) + 1) if tick <= end + ahead]


@settings(max_examples=100, deadline=None)
@given(SCHEDULES, st.sampled_from(STARTS), st.floats(0.0, 2 * DAY))
def test_the_next_tick_is_next_from_each_moment_before_it(schedule: Schedule, start: float, moment: float) -> None:
    ticks = upcoming(schedule, start, 150)
    expected = next((tick for tick in ticks if tick > start + moment), None)
    if expected is not None:
        assert schedule.after(start + moment) == expected


def test_a_clock_that_goes_back_finds_ticks_decided() -> None:
    hourly = Cron("0 * * * *")
    first = due(hourly, 0.0, 5 * HOUR + 10, ahead=10.0)
    assert first == ((5 * HOUR,), 5 * HOUR + 20, 6 * HOUR)
    assert due(hourly, first.cursor, 4 * HOUR, ahead=10.0) == ((), first.cursor, 6 * HOUR)
    assert due(hourly, first.cursor, 6 * HOUR, ahead=10.0).ticks == (6 * HOUR,)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [36]),
        ({"catchup": "latest", "window": 600}, [36]),
        ({"catchup": "all"}, [34, 35, 36]),
        ({"catchup": "none"}, []),
    ],
)
def test_what_three_hours_of_silence_are_made_up_for_with(options: dict[str, Any], expected: list[int]) -> None:
    hourly = Cron("0 * * * *", **options)
    now = 36 * HOUR + 5 * 60
    assert due(hourly, 33 * HOUR + 60, now).ticks == tuple(hour * HOUR for hour in expected)
    assert due(hourly, 33 * HOUR + 60, now).next_tick == 37 * HOUR


def test_a_tick_out_of_the_window_is_not_made_up_for() -> None:
    daily = Cron("0 0 * * *", window=HOUR)
    assert due(daily, 9 * DAY, 10 * DAY + HOUR - 1).ticks == (10 * DAY,)
    assert due(daily, 9 * DAY, 10 * DAY + HOUR).ticks == ()
    assert due(Cron("0 0 1 * *"), 0.0, 32 * DAY + HOUR).ticks == ()


@pytest.mark.parametrize("catchup", ["latest", "all", "none"])
def test_a_tick_of_the_last_minute_is_on_time(catchup: Any) -> None:
    assert due(Interval(600, catchup=catchup, window=0), 1200.0, 1859.0).ticks == (1800.0,)


def test_at_most_a_thousand_are_made_up_for_the_oldest_first_and_soon() -> None:
    every_second = Interval(1, catchup="all")
    answer = due(every_second, 0.0, 1e9, ahead=10.0)
    assert answer.ticks == tuple(range(999_999_001, 1_000_000_011))
    assert due(Interval(1), 0.0, 1e9).ticks == (1e9,)


def test_upcoming_ends_with_the_schedule() -> None:
    rule = RRule("DTSTART:20260101\nRRULE:FREQ=DAILY;COUNT=3")
    assert len(upcoming(rule, 0.0, 10)) == 3
    assert due(rule, 0.0, 2e9) == ((), 2e9, None)


def test_a_backfill_has_both_ends_and_a_bound() -> None:
    hourly = Cron("0 * * * *")
    assert backfill(hourly, HOUR, 3 * HOUR) == [HOUR, 2 * HOUR, 3 * HOUR]
    assert len(backfill(hourly, HOUR, 1000 * HOUR)) == 1000
    with pytest.raises(ServiceError, match="at most 1,000 ticks"):
        backfill(hourly, HOUR, 1001 * HOUR)


def test_jitter_is_the_same_everywhere_and_spread() -> None:
    schedule = Cron("0 * * * *", jitter=300)
    delays = [delay(schedule, f"id-{number}", HOUR) for number in range(500)]
    assert delays == [delay(Cron("0 * * * *", jitter=300), f"id-{number}", HOUR) for number in range(500)]
    assert all(0 <= one < 300 for one in delays)
    assert all(any(low <= one < low + 30 for one in delays) for low in range(0, 300, 30))
    assert delay(Cron("0 * * * *"), "id", HOUR) == 0.0


@pytest.mark.parametrize("tick", [1_800_000_000.0, 1_800_000_000.25, 0.0])
def test_keys_name_their_tick(tick: float) -> None:
    assert tick_of(key("0190-ab:c", tick)) == tick
    assert key("a", 1_800_000_000.0) == "tick:a:1800000000"


@pytest.mark.parametrize(
    ("overlap", "ticks", "earlier", "expected"),
    [
        ("allow", [1, 2], {"r": 0}, ([1, 2], [], False)),
        ("skip", [1, 2], {}, ([1], [], False)),
        ("skip", [1, 2], {"r": 0}, ([], [], False)),
        ("queue_one", [1, 2], {}, ([2], [], False)),
        ("queue_one", [1, 2], {"r": 0}, ([], [], True)),
        ("cancel_running", [1, 2], {"r": 0, "s": 1}, ([2], ["r", "s"], False)),
        ("cancel_running", [2], {"r": 0, "itself": 2}, ([2], ["r"], False)),
        ("queue_one", [], {"r": 0}, ([], [], False)),
    ],
)
def test_overlap(overlap: Any, ticks: list[float], earlier: dict[str, float], expected: Any) -> None:
    assert overlaps.decide(overlap, ticks, earlier) == tuple(
        tuple(one) if isinstance(one, list) else one for one in expected
    )
