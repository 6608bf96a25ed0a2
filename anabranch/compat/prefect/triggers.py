"""Prefect 1's `prefect.triggers`."""

from __future__ import annotations

from anabranch.compat.prefect1.triggers import manual_only, not_all_skipped
from anabranch.engine.triggers import (
    all_failed,
    all_finished,
    all_successful,
    always_run,
    any_failed,
    any_successful,
    some_failed,
    some_successful,
)

__all__ = [
    "all_failed", "all_finished", "all_successful", "always_run", "any_failed", "any_successful", "manual_only",
    "not_all_skipped", "some_failed", "some_successful",
]  # fmt: skip
