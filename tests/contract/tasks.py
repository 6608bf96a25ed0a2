"""Tasks for the contract suite: they run on the workers, which may not be able to import this file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 30.0
BIG = 300_000  # bytes that no report brings home by itself


def add_one(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    return 2 * x


def big(x: int) -> bytes:
    return bytes([x % 256]) * BIG


def head(data: bytes) -> tuple[int, int]:
    return data[0], len(data)


def pick_third(x: int) -> int:
    if x % 3 == 0:
        raise ValueError(f"no {x}")
    return x


def gate(folder: str) -> Callable[[int], int]:
    """A task that says that it began, then waits to be let go; steered by files, which all workers see."""

    def wait_at(x: int) -> int:
        Path(folder, f"begun-{x}").touch()
        end = time.monotonic() + WAIT
        while not os.path.exists(os.path.join(folder, "open")):
            if time.monotonic() > end:
                raise TimeoutError("nobody opened the gate")
            time.sleep(0.002)
        return x

    return wait_at


def marked(folder: str) -> Callable[[int], int]:
    """A task that leaves a mark, so that a test sees that it ran."""

    def leave_mark(x: int) -> int:
        Path(folder, f"ran-{x}").touch()
        return x

    return leave_mark
