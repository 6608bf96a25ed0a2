"""Prefect 1's `prefect.engine.results`."""

from __future__ import annotations

from anabranch.compat.prefect1.targets import LocalResult

__all__ = ["LocalResult", "PrefectResult"]


class PrefectResult:
    """Values in the record of Prefect's server: here in anabranch's, which has them anyway.

    Args:
        location, serializer: are taken, and change nothing.
    """

    def __init__(self, location: str | None = None, serializer: object = None) -> None:
        self.serializer = serializer
