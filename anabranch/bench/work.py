"""The functions that are run, and what a side of the contest can do with them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAP = 0.001  # seconds


def inc(x: int) -> int:
    """The no-op."""
    return x + 1


def nap(x: int) -> int:
    """A task of 1 ms, which needs no processor."""
    time.sleep(NAP)
    return x + 1


def calibrate() -> float:
    """Return the seconds of a fixed loop: how quick this processor is just now."""
    begun = time.perf_counter()
    total = 0
    for number in range(1_000_000):
        total += number & 3
    return time.perf_counter() - begun


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the contest, warm.

    Attributes:
        map: the values of a function over range(n).
        submit_all: the same, by one submit an item.
        call: the value of one submit of `inc`, waited for.
    """

    map: Callable[[Callable[[int], int], int], Iterable[int]]
    submit_all: Callable[[int], Iterable[int]]
    call: Callable[[int], int]
