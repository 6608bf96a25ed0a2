"""How long items took: bins, quantiles and the slowest ones, of any number of them."""

from __future__ import annotations

import heapq
import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import compress, pairwise
from typing import TYPE_CHECKING

from anabranch.display import strips

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.runs import ItemBlock

BINS = 60
SLOWEST = 20
_ONLY = [bytes(n == kind for n in range(256)) for kind in range(len(strips.KINDS))]  # of a kind: 1, of others: 0
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(slots=True)
class Spread:
    """The durations of a map's attempts in one kind of state.

    Attributes:
        kind: of `strips.KINDS`.
        heights: number of them in each of the bins of its `Durations`.
        quantiles: seconds, as `QUANTILES` asks for them.
    """

    kind: int
    count: int
    heights: list[int]
    quantiles: list[float]


@dataclass(slots=True)
class Durations:
    """The durations of a map's attempts.

    Attributes:
        low, high: seconds: the bins stand between, in equal ratios.
        slowest: seconds, item and worker of the slowest ones, the slowest first.
    """

    low: float = 0.0
    high: float = 0.0
    spreads: list[Spread] = field(default_factory=list)
    slowest: list[tuple[float, int, str]] = field(default_factory=list)

    def edge(self, number: int) -> float:
        """Return where a bin begins, in seconds."""
        return self.low * math.pow(self.high / self.low, number / BINS)


def durations_of(blocks: Iterable[ItemBlock]) -> Durations:
    """Return bins, quantiles and the slowest of the items of these blocks that have a duration."""
    columns: dict[int, array[int]] = {}
    slow: list[tuple[int, int, str]] = []
    for block in blocks:
        took = block.durations
        if took is None or not len(took):
            continue
        _sorted_in(columns, block, took)
        least = slow[0][0] if len(slow) >= SLOWEST else -1
        if max(took) > least:
            for number, index in heapq.nlargest(SLOWEST, zip(took, range(len(took)), strict=True)):
                entry = (number, -(block.first + index), block.worker)
                if len(slow) < SLOWEST:
                    heapq.heappush(slow, entry)
                elif entry > slow[0]:
                    heapq.heapreplace(slow, entry)
    ordered = {kind: sorted(column) for kind, column in sorted(columns.items())}
    if not ordered:
        return Durations()
    low = max(1, min(column[0] for column in ordered.values())) / 1e6
    high = max(max(column[-1] for column in ordered.values()) / 1e6, low * 1.5)
    found = Durations(low, high)
    edges = [round(found.edge(number) * 1e6) for number in range(1, BINS)]
    found.spreads = [_spread(kind, column, edges) for kind, column in ordered.items()]
    found.slowest = [(took / 1e6, -index, worker) for took, index, worker in sorted(slow, reverse=True)]
    return found


def _sorted_in(columns: dict[int, array[int]], block: ItemBlock, took: array[int]) -> None:
    """Add a block's durations to the columns of the kinds of its items."""
    kinds = bytes((strips.DONE,)) if block.codes is None else strips.kinds_of(block.codes)
    here = set(kinds)
    for kind in here:
        column = columns.setdefault(kind, array("q"))
        if len(here) == 1:
            column.extend(took if took.typecode == "q" else array("q", took))
        else:
            column.extend(compress(took, kinds.translate(_ONLY[kind])))


def _spread(kind: int, ordered: list[int], edges: list[int]) -> Spread:
    cuts = [0, *(bisect_left(ordered, edge) for edge in edges), len(ordered)]
    heights = [high - low for low, high in pairwise(cuts)]
    last = len(ordered) - 1
    return Spread(kind, len(ordered), heights, [max(0, ordered[math.floor(q * last)]) / 1e6 for q in QUANTILES])
