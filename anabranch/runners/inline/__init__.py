"""The inline runner. Its class is loaded when it is asked for: a worker imports its own half alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.lazy import lazily

if TYPE_CHECKING:
    from anabranch.runners.inline.runner import InlineRunner as InlineRunner

__all__ = ["InlineRunner"]
__getattr__ = lazily(__name__, InlineRunner="runner")
