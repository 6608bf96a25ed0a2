"""Prefect 1's `prefect.utilities.edges`."""

from __future__ import annotations

from anabranch.compat.prefect.utilities.annotations import unmapped
from anabranch.compat.prefect1.nodes import flatten, mapped

__all__ = ["flatten", "mapped", "unmapped"]
