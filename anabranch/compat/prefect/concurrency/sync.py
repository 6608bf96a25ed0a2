"""Limits for plain code."""

from __future__ import annotations

from anabranch.compat.prefect.concurrency.limits import ConcurrencySlotAcquisitionError, concurrency, rate_limit

__all__ = ["ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]
