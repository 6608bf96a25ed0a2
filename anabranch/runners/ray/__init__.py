"""The ray runner. Its class is loaded when it is asked for: a worker imports its own half alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabranch.runners.ray.runner import RayRunner as RayRunner

__all__ = ["RayRunner"]


def __getattr__(name: str) -> Any:
    if name == "RayRunner":
        return importlib.import_module(f"{__name__}.runner").RayRunner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
