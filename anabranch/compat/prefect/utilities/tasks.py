"""Prefect 1's `prefect.utilities.tasks`."""

from __future__ import annotations

from anabranch.compat.prefect.context import tags
from anabranch.compat.prefect.tasks import task
from anabranch.compat.prefect.utilities.annotations import unmapped
from anabranch.compat.prefect1.applied import apply_map

__all__ = ["apply_map", "tags", "task", "unmapped"]
