"""Schedules on their way into a document."""

from __future__ import annotations

from datetime import timedelta

import pytest

from anabranch.documents.schedules import spec_of
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
