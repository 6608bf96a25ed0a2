"""Prefect's `prefect.logging`."""

from __future__ import annotations

from anabranch.compat.prefect.logging.loggers import disable_run_logger, get_logger, get_run_logger

__all__ = ["disable_run_logger", "get_logger", "get_run_logger"]
