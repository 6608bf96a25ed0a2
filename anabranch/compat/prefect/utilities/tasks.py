"""Prefect 1's `prefect.utilities.tasks`."""

from __future__ import annotations

from anabranch.compat.prefect.context import tags
from anabranch.compat.prefect.tasks import task
from anabranch.compat.prefect.utilities.annotations import unmapped

__all__ = ["tags", "task", "unmapped"]
