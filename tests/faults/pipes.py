"""Pipes to meet a task in its midst: it writes its pid into `here`, then reads `gate`, which nobody opens."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def read_pid(path: str) -> int:
    """The pid that a task wrote into a pipe; waits for it."""
    with open(path, encoding="ascii") as file:
        return int(file.read())


def squares_met_at(item: int, here: str, gate: str, first: str) -> Callable[[int], int]:
    """A task that squares; the first to come to `item` is met there. Made in here, so that it travels by value."""

    def work(x: int) -> int:
        if x == item and not os.path.exists(first):
            open(first, "w").close()
            with open(here, "w") as file:
                file.write(str(os.getpid()))
            open(gate).close()
        return x * x

    return work
