"""What Prefect's API is told of a deployment's schedules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["DeploymentScheduleCreate"]


@dataclass
class DeploymentScheduleCreate:
    """A schedule with its options."""

    schedule: Any
    active: bool | None = True
    parameters: dict[str, Any] = field(default_factory=dict)
    slug: str | None = None
    max_scheduled_runs: int | None = None
