"""Prefect's times."""

from __future__ import annotations

from datetime import UTC
from datetime import date as Date
from datetime import datetime as DateTime
from datetime import timedelta as Duration
from typing import Any
from zoneinfo import ZoneInfo

__all__ = ["Date", "DateTime", "Duration", "now", "parse_datetime"]


def now(tz: Any = "UTC") -> DateTime:
    """Return the time now."""
    return DateTime.now(ZoneInfo(tz) if isinstance(tz, str) else tz or UTC)


def parse_datetime(text: str) -> DateTime:
    """Return the time of a text in ISO 8601."""
    return DateTime.fromisoformat(text)
