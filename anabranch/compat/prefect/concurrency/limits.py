"""Prefect's `concurrency` and `rate_limit`, by the limits of anabranch's record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from anabranch import named_limits
from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("prefect.concurrency")
_told: set[str] = set()  # limits whose absence was told of


class ConcurrencySlotAcquisitionError(AnabranchError):
    """Raised with `strict=True` where a limit was never set."""


def concurrency(
    names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, *, strict: bool = False, **_: Any
) -> Any:  # fmt: skip
    """Hold slots of a limit in this block, `with` or `async with`; one that was never set does not limit, and warns.

    Raises TypeError for several names at once, which anabranch does not take together, TimeoutError where the slots
    come too late, and with `strict` ConcurrencySlotAcquisitionError for a limit that was never set.
    """
    name = _one(names)
    return named_limits.slots_inside(name, None, occupy, timeout_seconds, _unknown(name, strict))


def rate_limit(
    names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, *, strict: bool = False, **_: Any
) -> None:  # fmt: skip
    """Wait until the limit's rate lets one more begin; raises as `concurrency` does."""
    with start(names, occupy, timeout_seconds, strict):
        return


def start(names: str | list[str], occupy: int, timeout_seconds: float | None, strict: bool) -> Any:
    """Return a block whose begin is a start under the limit's rate."""
    name = _one(names)
    return named_limits.start_inside(name, occupy, timeout_seconds, _unknown(name, strict))


def _unknown(name: str, strict: bool) -> Callable[[Exception], None]:
    def tell(error: Exception) -> None:
        if strict:
            raise ConcurrencySlotAcquisitionError(str(error)) from error
        if name not in _told:
            _told.add(name)
            _logger.warning("Concurrency limit %r does not exist, and does not limit: %s", name, error)

    return tell


def _one(names: str | list[str]) -> str:
    if isinstance(names, str):
        return names
    if len(names) != 1:
        raise TypeError(f"concurrency and rate_limit of anabranch take one name, got {names!r}: nest the blocks")
    return names[0]
