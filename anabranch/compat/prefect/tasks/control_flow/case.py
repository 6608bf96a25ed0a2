"""Prefect 1's `prefect.tasks.control_flow.case`."""

from __future__ import annotations

from anabranch.compat.prefect1.control_flow import case

__all__ = ["case"]
