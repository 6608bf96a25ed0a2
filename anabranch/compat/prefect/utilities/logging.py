"""Prefect 1's `prefect.utilities.logging`."""

from __future__ import annotations

from anabranch.compat.prefect.logging import get_logger

__all__ = ["get_logger"]
