"""The clock that the tests of the result stores move by hand."""

from __future__ import annotations


class Clock:
    """Time that stands until it is moved; `set_by` is how much somebody has set the wall clock on or back."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.set_by = 0.0

    def time(self) -> float:
        return self.now + self.set_by

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
