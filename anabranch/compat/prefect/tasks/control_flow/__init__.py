"""Prefect 1's `prefect.tasks.control_flow`."""

from __future__ import annotations

from anabranch.compat.prefect1.control_flow import case, ifelse, merge, switch
from anabranch.compat.prefect1.resources import resource_manager

__all__ = ["case", "ifelse", "merge", "resource_manager", "switch"]
