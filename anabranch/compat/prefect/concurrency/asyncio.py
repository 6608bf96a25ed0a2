"""Limits for coroutines."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.concurrency.limits import ConcurrencySlotAcquisitionError, concurrency
from anabranch.compat.prefect.concurrency.limits import rate_limit as _rate_limit

__all__ = ["ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]


async def rate_limit(names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, **_: Any) -> None:
    """Wait until the limit's rate lets one more begin."""
    _rate_limit(names, occupy, timeout_seconds)
