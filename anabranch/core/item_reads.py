"""Which runs single runs of a series read: noted while it grows, for the graph that a report draws.

What a map waits for as a whole is noted as if its first item read it.

    submit(f1, f2) --> ItemReads.note --rows of kind "reads"--> record --found--> {index: [(map, index there), ...]}

A row has one map that is read: its name, the readers as items, what they read as slots.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from anabranch.core.runs import StoredRow

if TYPE_CHECKING:
    from collections.abc import Iterable

KIND = "reads"
ALL = 2**32 - 1  # in place of an index: all of a map
MOST = 10_000  # that are noted of a series: a graph of more is not drawn run by run


class ItemReads:
    """What runs of one series read that no row says yet.

    Rows are due at each doubling of what was noted. So a series has few of them, and a driver that dies leaves half.
    """

    __slots__ = ("_noted", "_pending")

    def __init__(self) -> None:
        self._pending: dict[str, tuple[array[int], array[int]]] = {}
        self._noted = 0

    def note(self, index: int, map: str, read: int | None) -> bool:
        """Note that run `index` reads item `read` of a map, or all of it (None); return whether rows are due."""
        if self._noted >= MOST:
            return False
        columns = self._pending.get(map)
        if columns is None:
            columns = self._pending[map] = (array("Q"), array("I"))
        columns[0].append(index)
        columns[1].append(ALL if read is None else read)
        self._noted = noted = self._noted + 1
        return noted & (noted - 1) == 0 or noted == MOST

    def rows(self, series: str) -> list[StoredRow]:
        """Return what was noted since the last rows."""
        pending, self._pending = self._pending, {}
        return [StoredRow(series, map, items, slots, kind=KIND) for map, (items, slots) in pending.items()]


def found(rows: Iterable[StoredRow]) -> dict[int, list[tuple[str, int | None]]] | None:
    """Return what each run of a series reads, as (map, index there or None for all); None where not all was noted."""
    read: dict[int, list[tuple[str, int | None]]] = {}
    total = 0
    for row in rows:
        total += len(row.items)
        for index, slot in zip(row.items, row.slots, strict=True):
            read.setdefault(index, []).append((row.name, None if slot == ALL else slot))
    return read if total < MOST else None
