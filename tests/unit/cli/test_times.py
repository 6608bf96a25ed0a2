"""Times in tables, for people."""

from __future__ import annotations

from datetime import datetime

from anabranch.cli import record

NOON = datetime(2026, 3, 4, 12).timestamp()


def test_a_time_of_today_has_no_date_and_one_of_other_days_no_seconds() -> None:
    assert record.lately(NOON, NOON + 3600) == "12:00:00"
    assert record.lately(NOON, NOON + 24 * 3600) == "2026-03-04 12:00"
    assert record.lately(None, NOON) == ""
