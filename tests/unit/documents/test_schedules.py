"""Schedules on their way into a document."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from anabranch.compat.prefect.schedules import IntervalSchedule
from anabranch.core.errors import ServiceError
from anabranch.documents.schedules import given, spec_of
from anabranch.scheduling import Cron, Interval, RRule, Schedule, parse


@pytest.mark.parametrize(
    "schedule",
    [
        Cron(
            "0 9 * * MON#1", "Europe/Berlin", day_or=False, active=False, slug="a", overlap="cancel_running", jitter=5
        ),
        Interval(timedelta(days=1), "2026-01-01T09:00+05:00", parameters={"a": [1]}, catchup="all", window=60),
        RRule("FREQ=DAILY", overlap="queue_one"),
    ],
)
def test_an_object_keeps_all_its_options(schedule: Schedule) -> None:
    assert parse(spec_of(schedule)) == schedule


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "given_so",
    [
        {"schedule": Cron("0 9 * * *", "Europe/Berlin")},
        {"schedule": Cron("0 9 * * *", BERLIN)},  # type: ignore[arg-type]  # as people write it all the same
        {"cron": Cron("0 9 * * *", "Europe/Berlin")},
        {"schedule": {"cron": "0 9 * * *", "timezone": BERLIN}},
        {"cron": {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}},
        {"schedules": [{"schedule": {"cron": "0 9 * * *", "timezone": BERLIN}}]},
        {"schedules": [{"cron": Cron("0 9 * * *", "Europe/Berlin")}]},
    ],
)
def test_a_cron_keeps_its_time_zone_however_it_is_given(given_so: dict[str, Any]) -> None:
    assert given(**given_so) == [{"cron": "0 9 * * *", "timezone": "Europe/Berlin"}]


@pytest.mark.parametrize(
    "given_so",
    [
        {"interval": Interval(86400.0, datetime(2026, 1, 1, 9, tzinfo=BERLIN))},
        {"schedule": {"interval": timedelta(days=1), "anchor_date": datetime(2026, 1, 1, 9, tzinfo=BERLIN)}},
        {"schedule": IntervalSchedule(datetime(2026, 1, 1, 9, tzinfo=BERLIN), timedelta(days=1))},
    ],
)
def test_days_from_an_anchor_in_a_zone_are_days_of_that_zone(given_so: dict[str, Any]) -> None:
    """The offset of a winter's anchor, which is all that its text has, is an hour off in summer."""
    [spec] = given(**given_so) or []
    summer = datetime(2026, 7, 1, tzinfo=BERLIN).timestamp()
    tick = parse(spec).after(summer)
    assert tick is not None
    assert datetime.fromtimestamp(tick, BERLIN) == datetime(2026, 7, 1, 9, tzinfo=BERLIN)


def test_a_rule_keeps_its_time_zone_as_an_object_too() -> None:
    assert given(rrule=RRule("FREQ=DAILY", timezone="Europe/Berlin")) == given(
        schedule={"rrule": "FREQ=DAILY", "timezone": BERLIN}
    )


def test_a_zone_without_a_name_is_refused() -> None:
    fixed = timezone(timedelta(hours=5))
    with pytest.raises(ValueError, match="timezone must be a name"):
        given(schedule={"cron": "0 9 * * *", "timezone": fixed})
    with pytest.raises(ServiceError, match="timezone of a schedule is a name"):
        Cron("0 9 * * *", fixed)  # type: ignore[arg-type]
