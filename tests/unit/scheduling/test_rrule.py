"""Rules of recurrence against dateutil's expansion of naive and of UTC time; and their messages."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anabranch.core.errors import ServiceError
from anabranch.scheduling import RRule, upcoming

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
PERIODS = {  # seconds
    "YEARLY": 31_536_000, "MONTHLY": 2_592_000, "WEEKLY": 604_800, "DAILY": 86_400, "HOURLY": 3600, "MINUTELY": 60,
    "SECONDLY": 1,
}  # fmt: skip


def some(low: int, high: int, from_end: bool = False, most: int = 4) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    if from_end:
        numbers = numbers | st.integers(-high, -low)
    return st.lists(numbers, min_size=1, max_size=most, unique=True).map(lambda found: ",".join(map(str, found)))


def weekdays(counted: bool) -> st.SearchStrategy[str]:
    words = [f"{n}{day}" for day in DAYS for n in (1, 2, 5, -1, -2)] if counted else DAYS
    return st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True).map(",".join)


PARTS: dict[str, st.SearchStrategy[str]] = {
    "BYMONTH": some(1, 12),
    "BYMONTHDAY": some(1, 31, True),
    "BYYEARDAY": some(1, 366, True),
    "BYHOUR": some(0, 23),
    "BYMINUTE": some(0, 59),
    "BYSECOND": some(0, 59),
    "WKST": st.sampled_from(DAYS),
}


@st.composite
def rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from([*PERIODS]))
    chosen = draw(st.lists(st.sampled_from([*PARTS]), max_size=3, unique=True))
    parts = {name: draw(PARTS[name]) for name in chosen}
    if draw(st.booleans()):
        parts["BYDAY"] = draw(weekdays(frequency in {"YEARLY", "MONTHLY"} and draw(st.booleans())))
    if frequency == "YEARLY" and draw(st.booleans()) and not any(letter.isdigit() for letter in parts.get("BYDAY", "")):
        parts["BYWEEKNO"] = draw(some(1, 53) | some(-51, -1))  # dateutil leaves out days of -52 and -53 in December
    if frequency in {"YEARLY", "MONTHLY", "DAILY"} and draw(st.booleans()):
        parts["BYSETPOS"] = draw(some(1, 6, True))
    interval = draw(st.integers(1, 5))
    return ";".join(
        [f"FREQ={frequency}", f"INTERVAL={interval}", *(f"{name}={value}" for name, value in parts.items())]
    )


def expanded(text: str, start: datetime, after: datetime, end: datetime) -> list[float]:
    """What dateutil makes of a rule between two moments; a rule's end keeps its search short."""
    rule = rrulestr(text, dtstart=start, ignoretz=True)
    found = takewhile(lambda one: one <= end, rule.xafter(after))
    return [one.replace(tzinfo=UTC).timestamp() for one in islice(found, 8)]


@settings(max_examples=150, deadline=None)
@given(rules(), st.datetimes(datetime(2020, 1, 1), datetime(2023, 12, 31)), st.integers(0, 40))
def test_rules_expand_as_elsewhere(text: str, start: datetime, share: int) -> None:
    start, period = start.replace(microsecond=0), PERIODS[text.split(";")[0][5:]]
    after = start + timedelta(seconds=share * 5 * period)
    try:
        schedule = RRule(f"DTSTART:{start:%Y%m%dT%H%M%S}Z\nRRULE:{text}")
    except ServiceError as error:
        assume("never fires" not in str(error) and "BYSETPOS" not in str(error))
        raise
    found = upcoming(schedule, after.replace(tzinfo=UTC).timestamp(), 8)
    # The other library walks from the start, period by period: what is too far is left out.
    near = [tick for tick in found if tick - start.replace(tzinfo=UTC).timestamp() < 5000 * period]
    if near:
        last = datetime.fromtimestamp(near[-1], UTC).replace(tzinfo=None)
        assert expanded(text, start, after, last) == near


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=DAILY", ["2026-02-04T00:00:00", "2026-02-05T00:00:00"]),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9;BYMINUTE=30", ["2026-02-04T09:30:00", "2026-02-09T09:30:00"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["2026-02-27T00:00:00", "2026-03-31T00:00:00"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]),
        ("FREQ=MONTHLY;BYDAY=MO,1SA", ["2026-02-07T00:00:00", "2026-02-09T00:00:00"]),
        ("DTSTART:20260131T080000\nRRULE:FREQ=DAILY;COUNT=5", ["2026-02-03T08:00:00", "2026-02-04T08:00:00"]),
        ("DTSTART:20260131T080000\nRRULE:FREQ=DAILY;COUNT=4", ["2026-02-03T08:00:00"]),
        (
            "DTSTART:20260131T080000 RRULE:FREQ=DAILY;UNTIL=20260204T080000",
            ["2026-02-03T08:00:00", "2026-02-04T08:00:00"],
        ),
        ("DTSTART:20260131T080000 RRULE:FREQ=DAILY;UNTIL=20260203", ["2026-02-03T08:00:00"]),
        (
            "DTSTART:20260131T080000\nRRULE:FREQ=DAILY;COUNT=5\nEXDATE:20260203T080000\nRDATE:20260203T230000",
            ["2026-02-03T23:00:00", "2026-02-04T08:00:00"],
        ),
        ("RRULE:FREQ=DAILY;BYHOUR=6\nRRULE:FREQ=DAILY;BYHOUR=5", ["2026-02-03T05:00:00", "2026-02-03T06:00:00"]),
        ("RDATE:20260203T040000,20260205T040000", ["2026-02-03T04:00:00", "2026-02-05T04:00:00"]),
    ],
)
def test_lines(text: str, expected: list[str]) -> None:
    ticks = upcoming(RRule(text), datetime(2026, 2, 3, 0, tzinfo=UTC).timestamp(), 2)
    assert [datetime.fromtimestamp(tick, UTC).isoformat()[:19] for tick in ticks] == expected


def test_the_zone_may_stand_in_the_text() -> None:
    text = "DTSTART;TZID=America/New_York:20260101T090000\nRRULE:FREQ=DAILY"
    assert RRule(text).after(0) == RRule(text, timezone="America/New_York").after(0) == 1767276000.0
    with pytest.raises(ServiceError, match="several time zones"):
        RRule(text, timezone="Europe/Berlin")
    utc = "DTSTART:20260101T140000Z\nRRULE:FREQ=DAILY;UNTIL=20260102T140000Z"
    assert upcoming(RRule(utc, timezone="America/New_York"), 0, 3) == [1767276000.0, 1767276000.0 + 86_400]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rule"),
        ("FREQ=DAYLY", "did you mean 'DAILY'?"),
        ("FREQ=DAILY;BYOUR=3", "there is no part BYOUR; did you mean 'BYHOUR'?"),
        ("INTERVAL=2", "FREQ is one of YEARLY"),
        ("FREQ=DAILY;FREQ=DAILY", "stands twice"),
        ("FREQ", "not of the form NAME=VALUE"),
        ("RULE:FREQ=DAILY", "did you mean 'RRULE'?"),
        ("EXRULE:FREQ=DAILY", "there is no line EXRULE"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0 is not of 1 to"),
        ("FREQ=YEARLY;INTERVAL=100000000000", "INTERVAL=100000000000 is not of 1 to 50"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR=24 is not of 0 to 23"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0 is not of 1 to 31, or -31 to -1"),
        ("FREQ=WEEKLY;BYDAY=2MO", "counts weekdays in a month or year"),
        ("FREQ=MONTHLY;BYWEEKNO=3", "BYWEEKNO goes with FREQ=YEARLY"),
        ("FREQ=WEEKLY;BYDAY=MON", "BYDAY=MON is no weekday"),
        ("FREQ=HOURLY;BYSETPOS=1", "BYSETPOS goes with"),
        ("FREQ=YEARLY;BYSETPOS=1;BYMINUTE=1,2,3,4;BYSECOND=1,2,3,4", "at most 5,000 times a period"),
        ("FREQ=DAILY;COUNT=3", "COUNT counts from DTSTART"),
        ("DTSTART:20260101\nRRULE:FREQ=DAILY;COUNT=10001", "COUNT=10001 is not of 1 to 10,000"),
        ("DTSTART:20260101\nRRULE:FREQ=DAILY;COUNT=2;UNTIL=20270101", "COUNT and UNTIL"),
        ("DTSTART:20260231", "is no time"),
        ("DTSTART:20260101\nDTSTART:20260102\nRRULE:FREQ=DAILY", "more than one DTSTART"),
        ("DTSTART:20260102\nRRULE:FREQ=DAILY;UNTIL=20260101", "never fires"),
        ("X" * 20_001, "longer than 20,000"),
    ],
)
def test_bad_ones_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        RRule(text)
    assert message in str(caught.value)


IMPOSSIBLE = [
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MINUTELY;INTERVAL=10;BYMINUTE=5",
    "FREQ=SECONDLY;INTERVAL=60;BYSECOND=30",
    "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=YEARLY;BYMONTH=1;BYDAY=MO;BYSETPOS=366",
    "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1",
]


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_a_rule_that_never_fires_is_found_out_soon(text: str) -> None:
    """The bound is generous, and far below what a search until the year 9999 takes."""
    before = time.process_time()
    with pytest.raises(ServiceError, match="never fires"):
        RRule(text)
    assert time.process_time() - before < 3.0


def test_a_rule_that_is_over_has_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    over: Any = RRule("DTSTART:20260101\nRRULE:FREQ=DAILY;COUNT=3")
    assert over.after(datetime(2026, 1, 4, tzinfo=UTC).timestamp()) is None
