"""Prefect's `concurrency` and `rate_limit`, by the limits of anabranch's record."""

from __future__ import annotations

from typing import Any

from anabranch import named_limits
from anabranch.core.errors import AnabranchError


class ConcurrencySlotAcquisitionError(AnabranchError):
    """Raised when no slot was free in time."""


def concurrency(names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, **_: Any) -> Any:
    """Hold slots of limits in this block, `with` or `async with`; a limit that was never set does not limit.

    Raises TypeError for several names at once, which anabranch does not take together.
    """
    return named_limits.concurrency(_one(names), occupy=occupy, timeout_seconds=timeout_seconds)


def rate_limit(names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, **_: Any) -> None:
    """Wait until the limit's rate lets one more begin."""
    named_limits.rate_limit(_one(names), occupy=occupy, timeout_seconds=timeout_seconds)


def _one(names: str | list[str]) -> str:
    if isinstance(names, str):
        return names
    if len(names) != 1:
        raise TypeError(f"concurrency and rate_limit of anabranch take one name, got {names!r}: nest the blocks")
    return names[0]
