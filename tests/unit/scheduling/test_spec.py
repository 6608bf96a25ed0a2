"""Schedules as dictionaries: all shapes that people write, there and back; and what is wrong with others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from anabranch.core.errors import ServiceError
from anabranch.scheduling import Cron, Interval, RRule, Schedule, document, parse, rows

NOW = 1_800_000_000.0
HOURLY = Cron("0 * * * *")
SHAPES: list[tuple[dict[str, Any], Schedule]] = [
    ({"cron": "0 * * * *"}, HOURLY),
    ({"cron": "0 * * * *", "timezone": None, "day_or": True}, HOURLY),
    ({"schedule": {"cron": "0 * * * *", "timezone": None}, "active": False}, Cron("0 * * * *", active=False)),
    ({"interval": 60}, Interval(60)),
    ({"interval": timedelta(minutes=1)}, Interval(60)),
    (
        {"interval": 3600.0, "anchor_date": "2026-01-01T06:00:00+00:00", "timezone": "UTC"},
        Interval(3600, datetime(2026, 1, 1, 6, tzinfo=UTC), "UTC"),
    ),
    ({"rrule": "FREQ=DAILY", "timezone": "Europe/Berlin"}, RRule("FREQ=DAILY", "Europe/Berlin")),
    (
        {"cron": "0 * * * *", "slug": "h", "parameters": {"a": [1]}, "catchup": "all", "jitter": 5, "overlap": "skip"},
        Cron("0 * * * *", slug="h", parameters={"a": [1]}, catchup="all", jitter=5, overlap="skip"),
    ),
    (
        {"cron": "0 0 * * *", "overlap": "queue_one", "window": timedelta(hours=1)},
        Cron("0 0 * * *", overlap="queue_one", window=3600),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), SHAPES)
def test_all_shapes_are_read_and_written_back(given: dict[str, Any], expected: Schedule) -> None:
    assert parse(given) == expected
    written = document(expected)
    assert parse(written) == expected
    assert parse(yaml.safe_load(yaml.safe_dump(written))) == expected
    assert parse(expected) is expected


def test_dates_of_yaml_are_read() -> None:
    words = "{interval: 86400, anchor_date: 2026-01-05 09:30:00, timezone: Europe/Berlin}"
    assert parse(yaml.safe_load(words)).after(NOW) == parse(
        {"interval": 86400, "anchor_date": "2026-01-05T09:30", "timezone": "Europe/Berlin"}
    ).after(NOW)
    assert parse(yaml.safe_load("{interval: 86400, anchor_date: 2026-01-05}")) == Interval(86400, "2026-01-05")


def test_an_anchor_brings_its_zone() -> None:
    assert Interval(86400, datetime(2026, 1, 1, 9, tzinfo=ZoneInfo("Europe/Berlin"))).timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a schedule has one of cron, interval, rrule; {} has none"),
        ({"crom": "0 0 * * *"}, "did you mean 'cron'?"),
        ({"cron": "0 0 * * *", "interval": 5}, "has cron and interval"),
        ({"cron": "0 0 * * *", "timezon": "UTC"}, "has no 'timezon'; did you mean 'timezone'?"),
        ({"cron": "0 0 * * *", "anchor_date": "2026-01-01"}, "a schedule by cron has no 'anchor_date'"),
        ({"cron": "0 0 * * *", "active": "yes"}, "active is true or false"),
        ({"cron": "0 0 * * *", "parameters": [1]}, "parameters are a dictionary"),
        ({"cron": "0 0 * * *", "overlap": "skipp"}, "not 'skipp'; did you mean 'skip'?"),
        ({"cron": "0 0 * * *", "catchup": True}, "catchup of a schedule is one of 'latest', 'all', 'none'; not True"),
        ({"cron": "0 0 * * *", "catchup": "all", "overlap": "queue_one"}, "leave catchup out"),
        ({"cron": "0 0 * * *", "jitter": -1}, "not below 0"),
        ({"cron": "0 0 * * *", "day_or": "no"}, "day_or"),
        ({"cron": 5}, "cron 5 is no text"),
        ({"interval": 0}, "an interval of 0 seconds"),
        ({"interval": -5}, "an interval of -5 seconds"),
        ({"interval": 0.5}, "at least one second"),
        ({"interval": 1e12}, "at most 50 years"),
        ({"interval": "1h"}, "is no duration"),
        ({"interval": float("nan")}, "is no duration"),
        ({"interval": True}, "is no duration"),
        ({"interval": 60, "anchor_date": "soon"}, "anchor_date 'soon' is no time"),
        ({"interval": 60, "anchor_date": 5}, "anchor_date 5 is no time"),
        ({"interval": 60, "anchor_date": "0001-01-01"}, "outside the years 1900 to 2200"),
        ({"interval": 60, "timezone": "Mars"}, "there is no time zone 'Mars'"),
        ({"rrule": ["FREQ=DAILY"]}, "is no text"),
        ("0 0 * * *", "a schedule is a dictionary"),
    ],
)
def test_bad_ones_say_what_is_wrong(given: Any, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse(given)
    assert message in str(caught.value)


def test_rows_have_slugs_that_outlive_changed_times() -> None:
    made = rows([HOURLY, Interval(60), Cron("1 * * * *", slug="cron-2"), Cron("2 * * * *", parameters={"a": 1})], NOW)
    assert [row.slug for row in made] == ["cron", "interval", "cron-2", "cron-3"]
    assert made[3].parameters == {"a": 1}
    assert made[0].spec == {"cron": "0 * * * *"}
    assert (made[0].cursor, made[0].next_tick) == (NOW, NOW + 3600 - NOW % 3600)
    with pytest.raises(ServiceError, match="two schedules of a deployment have the slug 'a'"):
        rows([Cron("0 * * * *", slug="a"), Interval(5, slug="a")], NOW)
