"""When the items of maps ran: columns of the record made into cells of time, whatever the number of items.

    blocks of a map --unique--> blocks --Busy.add--> seconds of running items in each cell, and items begun by then

A pass over a block visits the cells that it touches, not its items: starts are in order where items ran one after
another, so the items of a cell are found by bisection and their durations added in C.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator

    from anabranch.core.runs import ItemBlock


class Axis:
    """The time of a run in cells of one width.

    Args:
        start, end: Unix seconds.
        cells: how many.
        begin: the seconds of the run at the start.
    """

    def __init__(self, start: float, end: float, cells: int, begin: float = 0.0) -> None:
        self.start = start
        self.begin = begin
        self.seconds: float = max(end - start, 1e-6)
        self.cells = cells
        self.width: float = self.seconds / cells

    def cell(self, when: float) -> int:
        """Return the cell of a Unix time; what lies outside is in the first or the last one."""
        return min(self.cells - 1, max(0, int((when - self.start) / self.width)))


class Busy:
    """Seconds of running items in each cell, and how many items had begun by the end of it.

    Attributes:
        first, last: Unix seconds of the first start and the last end; None where no item has a time.
    """

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self.seconds: list[float] = [0.0] * axis.cells
        self.begun: list[int] = [0] * axis.cells
        self.first: float | None = None
        self.last: float | None = None

    def add(self, block: ItemBlock) -> None:
        """Add the items of a block; those without times do not count."""
        started, durations = block.started, block.durations
        if started is None or durations is None or not len(started):
            return
        if any(map(_before, started[1:], started)) if len(started) < _FEW else started[-1] < started[0]:
            self._together(block.base, started, durations)
            return
        low = 0
        while low < len(started):
            edge = self._edge(block.base + started[low] / 1e6)
            high = bisect_left(started, (edge - block.base) * 1e6, low + 1)
            end = started[high - 1] + durations[high - 1]
            took = min(end - started[low], sum(durations[low:high]) + (high - low) // 2)  # they are cut, not rounded
            self._spread(block.base + started[low] / 1e6, block.base + end / 1e6, took / 1e6)
            self._count(block.base + started[low] / 1e6, high - low)
            low = high

    def add_one(self, when: float, seconds: float) -> None:
        """Add one item; `when` it began, in Unix seconds."""
        self._spread(when, when + seconds, seconds)
        self._count(when, 1)

    def _together(self, base: float, started: array[int], durations: array[int]) -> None:
        """Add items that ran together (async ones): each by itself where they are few, else evenly."""
        if len(started) <= 4096:
            for begun, took in zip(started, durations, strict=True):
                self.add_one(base + begun / 1e6, max(took, 0) / 1e6)
            return
        low, high = base + min(started) / 1e6, base + max(map(int.__add__, started, durations)) / 1e6
        self._spread(low, high, sum(durations) / 1e6)
        self._count(low, len(started))

    def _edge(self, when: float) -> float:
        """Return the end of the cell of a time."""
        axis = self.axis
        cell = axis.cell(when)
        return axis.start + (cell + 1) * axis.width if cell < axis.cells - 1 else float("inf")

    def _count(self, when: float, items: int) -> None:
        self.begun[self.axis.cell(when)] += items

    def _spread(self, low: float, high: float, seconds: float) -> None:
        """Add so many seconds, evenly from `low` to `high`."""
        axis = self.axis
        self.first = low if self.first is None or low < self.first else self.first
        self.last = high if self.last is None or high > self.last else self.last
        first, last = axis.cell(low), axis.cell(high)
        if first == last or high <= low:
            self.seconds[first] += seconds
            return
        per = seconds / (high - low)
        for cell in range(first, last + 1):
            begin, end = axis.start + cell * axis.width, axis.start + (cell + 1) * axis.width
            begin, end = low if cell == first else begin, high if cell == last else end
            self.seconds[cell] += per * max(0.0, end - begin)


_FEW = 64  # items of which the order is looked at one by one


def _before(one: int, other: int) -> bool:
    return one < other


def unique(blocks: Iterable[ItemBlock], seen: set[tuple[object, ...]]) -> Iterator[ItemBlock]:
    """Yield blocks with times that were not seen before: items of maps that travelled together have the same ones."""
    for block in blocks:
        if block.started is None or block.durations is None or not len(block.started):
            continue
        begun = round(block.base * 1e6 + block.started[0], -1)
        key = (block.worker, begun, block.count, block.started[-1] - block.started[0], sum(block.durations))
        if key not in seen:
            seen.add(key)
            yield block
