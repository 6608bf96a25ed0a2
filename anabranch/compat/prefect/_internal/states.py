"""States of exceptions and return values."""

from __future__ import annotations

from anabranch.compat.prefect.state_results import (
    exception_to_crashed_state_sync,
    exception_to_failed_state_sync,
    return_value_to_state_sync,
)

__all__ = ["exception_to_crashed_state_sync", "exception_to_failed_state_sync", "return_value_to_state_sync"]
