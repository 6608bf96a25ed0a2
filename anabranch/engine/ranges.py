"""Index ranges, the form of most sets of items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.states import FIRST_ENDED

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any


def in_ranges(ranges: Iterable[tuple[int, int, bool]], lo: int, hi: int) -> set[int]:
    """Return the items of [lo, hi) that a range contains."""
    return {i for a, b, _ in ranges for i in range(max(a, lo), min(b, hi))}


def remove_from(ranges: deque[tuple[int, int, bool]], gone: set[int]) -> None:
    """Take items out of ready ranges, in place."""
    if not ranges or not gone:
        return
    low, high = min(gone), max(gone)
    kept: list[tuple[int, int, bool]] = []
    for lo, hi, exact in ranges:
        if hi <= low or lo > high:
            kept.append((lo, hi, exact))
            continue
        start = lo
        for index in range(lo, hi):
            if index in gone:
                if index > start:
                    kept.append((start, index, exact))
                start = index + 1
        if hi > start:
            kept.append((start, hi, exact))
    ranges.clear()
    ranges.extend(kept)


def runs_of(items: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of consecutive items, rising or falling, as half-open ranges."""
    lo = hi = -1
    for index in items:
        if lo <= index and index == hi:
            hi += 1
        elif index == lo - 1:
            lo = index
        else:
            if hi > lo >= 0:
                yield lo, hi
            lo, hi = index, index + 1
    if hi > lo >= 0:
        yield lo, hi


def unfinished(codes: bytes | bytearray) -> list[tuple[int, int]]:
    """Return the runs of items that have not ended, judged by their states' codes."""
    return list(runs_of(index for index, code in enumerate(codes) if code < FIRST_ENDED))


def as_range(items: list[int]) -> Sequence[int]:
    """Return items as a range, if each is one more than the one before."""
    first = items[0]
    if len(items) == 1:
        return range(first, first + 1)
    if items[-1] - first + 1 != len(items) or any(i != n for n, i in enumerate(items, first)):
        return items
    return range(first, first + len(items))


def common(items: Sequence[int], table: Mapping[Any, object]) -> Sequence[int]:
    """Return the items that a table may have: its keys among them where it is the smaller one, else all items."""
    if len(items) <= len(table):
        return items
    there = items if isinstance(items, range) else set(items)
    return [i for i in table if i in there]
