"""Prefect 1's `prefect.schedules.clocks`."""

from __future__ import annotations

from anabranch.compat.prefect.schedules import CronClock, IntervalClock

__all__ = ["CronClock", "IntervalClock"]
