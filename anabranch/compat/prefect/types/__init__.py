"""Prefect's types of values."""

from __future__ import annotations

from datetime import date as Date
from datetime import datetime as DateTime
from datetime import timedelta as Duration

__all__ = ["Date", "DateTime", "Duration"]
