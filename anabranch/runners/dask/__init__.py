"""The dask runner. Its class is loaded when it is asked for: a worker imports its own half alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.lazy import lazily

if TYPE_CHECKING:
    from anabranch.runners.dask.runner import DaskRunner as DaskRunner

__all__ = ["DaskRunner"]
__getattr__ = lazily(__name__, DaskRunner="runner")
