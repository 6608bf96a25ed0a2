"""The clock that the tests of the result stores move by hand."""

from __future__ import annotations


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds
