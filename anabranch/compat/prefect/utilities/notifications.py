"""Prefect 1's `prefect.utilities.notifications`."""

from __future__ import annotations

from anabranch.engine.hooks import callback_factory

__all__ = ["callback_factory"]
