"""Prefect's `prefect.main`: the names that `prefect` gives."""

from __future__ import annotations

from typing import Any

from anabranch.compat import prefect


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in dir(prefect):
        raise AttributeError(f"module 'prefect.main' has no attribute {name!r}")
    return getattr(prefect, name)
