"""Limits for coroutines."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.concurrency.limits import ConcurrencySlotAcquisitionError, concurrency, start

__all__ = ["ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]


async def rate_limit(
    names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, *, strict: bool = False, **_: Any
) -> None:  # fmt: skip
    """Wait until the limit's rate lets one more begin; other coroutines run meanwhile."""
    async with start(names, occupy, timeout_seconds, strict):
        return
