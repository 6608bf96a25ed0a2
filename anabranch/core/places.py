"""The places of a map's values in the result store: four bytes an item, however many blocks."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Block(NamedTuple):
    name: str
    items: Sequence[int]
    slots: Sequence[int]
    by_item: dict[int, int] | None  # None: items and slots are consecutive


class Places:
    """Item -> (block, slot); the last entry for an item counts."""

    __slots__ = ("_blocks", "_where")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._where: array[int] = array("I")  # number of the item's block from 1, 0 for none

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def add(self, name: str, items: Sequence[int], slots: Sequence[int]) -> None:
        """Note that the value of `items[n]` lies in this block, at `slots[n]`."""
        if not len(items):
            return
        plain = isinstance(items, range) and isinstance(slots, range) and items.step == slots.step == 1
        self._blocks.append(_Block(name, items, slots, None if plain else dict(zip(items, slots, strict=True))))
        number, where = len(self._blocks), self._where
        missing = max(items[0], items[-1]) + 1 - len(where) if plain else max(items) + 1 - len(where)
        if missing > 0:
            where.frombytes(bytes(missing * where.itemsize))
        if plain:
            where[items[0] : items[-1] + 1] = array("I", [number]) * len(items)
        else:
            for item in items:
                where[item] = number

    def find(self, item: int) -> tuple[str, int] | None:
        """Return the block's name and the slot of the item's value; None when it has none."""
        number = self._where[item] if item < len(self._where) else 0
        if not number:
            return None
        block = self._blocks[number - 1]
        if block.by_item is None:
            return block.name, block.slots[0] + item - block.items[0]
        return block.name, block.by_item[item]

    def covers(self, lo: int, hi: int) -> bool:
        """Return whether each item of [lo, hi) has a place."""
        return hi <= len(self._where) and 0 not in self._where[lo:hi]
