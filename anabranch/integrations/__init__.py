"""At home in other libraries. Each part is a file, loaded when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.lazy import lazily

if TYPE_CHECKING:
    from anabranch.integrations.executor import Executor as Executor

__all__ = ["Executor"]
__getattr__ = lazily(__name__, Executor="executor")
