"""The inline runner. Its class is loaded when it is asked for: a worker imports its own half alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabranch.runners.inline.runner import InlineRunner as InlineRunner

__all__ = ["InlineRunner"]


def __getattr__(name: str) -> Any:
    if name == "InlineRunner":
        return importlib.import_module(f"{__name__}.runner").InlineRunner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
