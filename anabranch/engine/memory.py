"""The values in this machine's memory, and the choice of those that leave it when they are too many.

add --> in memory --choose--> leaving --left--> on disk
    \\                    \\--stays--> in memory for good
     \\--remove (its last reader has gone)

Pure counting: the ledger feeds it, the pump's spiller moves the bytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.core.value_index import ValueBlock

SMALLEST = 64 << 10  # bytes; smaller blocks are not worth a file
SLACK = 64 << 20  # bytes over the budget before work waits for the disk


def _read_soon(map: MapRun) -> bool:
    return map.consumers.stream is not None or map.consumers.unfinished is not None


class Memory:
    """Counts bytes of values in memory against a budget.

    Args:
        budget: bytes that values may take before the first ones leave.
    """

    __slots__ = ("_leaving", "_lying", "budget", "leaving", "slack", "taken")

    def __init__(self, budget: float = math.inf) -> None:
        self.budget = budget
        self.slack = SLACK
        self.taken = 0  # bytes in memory
        self.leaving = 0  # bytes of these that are being written
        self._lying: dict[MapRun, dict[ValueBlock, None]] = {}
        self._leaving: set[ValueBlock] = set()

    def add(self, map: MapRun, block: ValueBlock) -> None:
        """Add a block that lies in memory."""
        block.in_memory = True
        self.taken += block.nbytes
        if block.nbytes >= SMALLEST:
            self._lying.setdefault(map, {})[block] = None

    def remove(self, map: MapRun, block: ValueBlock) -> None:
        """Remove a block, wherever it is."""
        if not block.in_memory:
            return
        block.in_memory = False
        self.taken -= block.nbytes
        if block in self._leaving:
            self._leaving.discard(block)
            self.leaving -= block.nbytes
        elif block.nbytes >= SMALLEST:
            self._forget(map, block)

    @property
    def over(self) -> bool:
        return self.taken - self.leaving > self.budget

    def choose(self) -> list[tuple[MapRun, ValueBlock]]:
        """Return the blocks that must leave now: maps without readers first, and of each map the blocks read last."""
        found: list[tuple[MapRun, ValueBlock]] = []
        for map in sorted(self._lying, key=_read_soon):
            blocks = self._lying[map]
            while blocks and self.over:
                block, _ = blocks.popitem()  # the newest: a reader of the list begins at the other end
                self._leaving.add(block)
                self.leaving += block.nbytes
                found.append((map, block))
            if not blocks:
                del self._lying[map]
        return found

    def left(self, block: ValueBlock) -> bool:
        """Note that a block was written; False when it was dropped meanwhile."""
        if block not in self._leaving:
            return False
        self._leaving.discard(block)
        self.leaving -= block.nbytes
        self.taken -= block.nbytes
        block.in_memory = False
        return True

    def stays(self, block: ValueBlock) -> None:
        """Note that a block cannot leave: it counts, and is not chosen again."""
        if block in self._leaving:
            self._leaving.discard(block)
            self.leaving -= block.nbytes

    @property
    def behind(self) -> bool:
        """Return whether values are made faster than they can leave: no new work should start meanwhile."""
        return self.leaving > 0 and self.taken > self.budget + self.slack

    def _forget(self, map: MapRun, block: ValueBlock) -> None:
        blocks = self._lying.get(map)
        if blocks is not None:
            blocks.pop(block, None)
            if not blocks:
                del self._lying[map]
