"""Prefect 1's `prefect.tasks.control_flow.conditional`."""

from __future__ import annotations

from anabranch.compat.prefect1.control_flow import ifelse, merge, switch

__all__ = ["ifelse", "merge", "switch"]
