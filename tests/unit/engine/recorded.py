"""The record as the stateful test of the dispatcher reads it: each attempt of an item has one end, and it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.runs import ItemBlock, ItemRow

if TYPE_CHECKING:
    from anabranch.core.instructions import Rows
    from anabranch.core.maps import MapRun

Place = tuple[str, int, int]  # a map, an item, an attempt


class Recorded:
    """Takes rows in, and checks them against those before."""

    def __init__(self) -> None:
        self.ends: dict[Place, int] = {}
        self._told: set[tuple[Place, type]] = set()

    def take_in(self, rows: Rows) -> None:
        for row in rows.rows:
            if isinstance(row, ItemRow) and row.state >= states.FIRST_ENDED:
                self._end(ItemRow, (row.map, row.index, row.attempt), row.state)
            elif isinstance(row, ItemBlock):
                for at in range(row.count):
                    code = states.COMPLETED if row.codes is None else row.codes[at]
                    self._end(ItemBlock, (row.map, row.first + at, row.attempt), code)

    def _end(self, kind: type, place: Place, code: int) -> None:
        """One that did not just complete may have a row of its own beside its place in a block."""
        assert (place, kind) not in self._told, f"{place} is recorded twice"
        assert self.ends.get(place, code) == code, f"{place} ended as {self.ends[place]} and as {code}"
        self._told.add((place, kind))
        self.ends[place] = code

    def check(self, map: MapRun, index: int) -> None:
        """Check that an ended item is recorded as it ended."""
        found = self.ends.get((map.id, index, map.attempt(index)))
        assert found == map.code(index), f"{map.id}[{index}] ended as {map.code(index)}, recorded as {found}"
