"""Prefect 1's `prefect.engine.cache_validators`."""

from __future__ import annotations

from anabranch.compat.prefect1.cache_validators import (
    all_inputs,
    all_parameters,
    duration_only,
    never_use,
    partial_inputs_only,
    partial_parameters_only,
)

__all__ = [
    "all_inputs", "all_parameters", "duration_only", "never_use", "partial_inputs_only", "partial_parameters_only",
]  # fmt: skip
