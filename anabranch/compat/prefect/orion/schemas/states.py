"""The first Prefect 2's `prefect.orion.schemas.states`."""

from __future__ import annotations

from anabranch.compat.prefect.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Pending,
    Retrying,
    Running,
    Scheduled,
    State,
    StateType,
)

__all__ = [
    "AwaitingRetry", "Cancelled", "Completed", "Crashed", "Failed", "Pending", "Retrying", "Running", "Scheduled",
    "State", "StateType",
]  # fmt: skip
