"""Doors between a test and what runs, in whatever process: what an event is between threads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests import waiting

if TYPE_CHECKING:
    from collections.abc import Callable

SOON = waiting.WAIT  # at most, for what comes at once unless something is broken


class Gate:
    """A file that is there once somebody has opened it; it travels to workers as its path."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def open(self) -> None:
        Path(self.path).touch()

    @property
    def is_open(self) -> bool:
        return Path(self.path).exists()

    def wait(self, seconds: float = SOON) -> bool:
        """Whether it was opened within so many seconds."""
        return _comes(lambda: self.is_open, seconds)

    def pass_through(self) -> None:
        """Wait until it is open; whoever stands here too long is in a test that has failed."""
        if not self.wait():
            raise TimeoutError(f"nobody opened {self.path}")


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for what no event tells of."""
    waiting.until(holds, what, seconds=SOON)


def _comes(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
