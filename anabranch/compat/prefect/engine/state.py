"""Prefect 1's `prefect.engine.state`."""

from __future__ import annotations

from anabranch.compat.prefect1.states import (
    Cached,
    Cancelled,
    Failed,
    Finished,
    Mapped,
    Pending,
    Retrying,
    Running,
    Scheduled,
    Skipped,
    State,
    Success,
    TimedOut,
    TriggerFailed,
    ValidationFailed,
)

__all__ = [
    "Cached", "Cancelled", "Failed", "Finished", "Mapped", "Pending", "Retrying", "Running", "Scheduled", "Skipped",
    "State", "Success", "TimedOut", "TriggerFailed", "ValidationFailed",
]  # fmt: skip
