"""Values made again after their worker was lost, from recipes: an item's arguments and inputs.

g.map(source) --A--> f.map(A) --B--> reader        B[3] was on a worker that died, A[3] is released
                                                        A[3] runs again, then B[3], each one attempt further
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.reasons import make
from anabranch.engine.ranges import runs_of
from anabranch.engine.rows import item_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.chunks import BlockHandle
    from anabranch.core.maps import MapRun
    from anabranch.core.value_index import ValueBlock
    from anabranch.engine.board import Board

_LOST = make("budget/value-lost")


class Remakes:
    """Runs items again if their values are lost and may still be read; `recipes.py` keeps their inputs."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._tables = board.tables
        self._ledger = board.ledger

    def values_lost(self, lane: int, handles: Sequence[BlockHandle]) -> None:
        """Run items of lost blocks again, if their values may still be read."""
        gone = set(handles)
        chunks = {handle.chunk for handle in gone}
        for map in list(self._tables.maps.values()):
            if map.sending.lane != lane:
                continue
            for block in dict.fromkeys([*map.values.blocks, *map.values.moved.values()]):
                if block is not None and block.chunk in chunks and block.handle in gone:
                    self._remake(map, block)

    def _remake(self, map: MapRun, block: ValueBlock) -> None:
        wanted = [
            i for i in block.indices() if states.is_success(map.codes[i]) and self._ledger.wanted_item(map, i)
        ]
        self._ledger.lost(map, block)
        self._make_again(map, wanted)

    def _make_again(self, map: MapRun, items: list[int]) -> None:
        """Run completed items once more; inputs that were released meanwhile are made again before."""
        for index in items:
            row = item_row(self._tables.wall, map, index, states.AWAITING_RETRY, "value-lost", None, _LOST)
            self._tables.rows.append(row)
            map.codes[index] = states.PENDING
            map.next_attempt(index, uncounted=True)
            map.messages[index] = "value-lost"
        map.done -= len(items)
        self._board.upstreams.call_back(map, set(items))
        again = [i for i in items if self._read_again(map, i)]
        if len(again) < len(items):
            text = "value-lost: its worker died, and what it was made of is not there any more"
            why = make("budget/value-lost", final=True)
            self._board.end_items(map, sorted(set(items).difference(again)), states.CRASHED, text, reason=why)
        for lo, hi in runs_of(self._board.upstreams.with_inputs(map, again)):
            self._board.make_ready(map, lo, hi)

    def _read_again(self, map: MapRun, index: int) -> bool:
        """Register the item as a reader of its inputs once more; False when it has no recipe."""
        ups = map.inputs.recipes.pop(index, ())
        if ups:
            map.inputs.upstreams[index] = ups
        for feed in map.inputs.feeds:
            self._ledger.add_item_reader(feed.map, index)
            self._bring_back(feed.map, (index,))
        for up in ups:
            if up.value:
                self._ledger.hold(up)
                self._bring_back(up.map, range(len(up.map.codes)) if up.item is None else (up.item,))
        return map.inputs.source is None or map.inputs.source.random_access or index in map.inputs.args

    def _bring_back(self, map: MapRun, items: Sequence[int]) -> None:
        """Make the released items of an input again."""
        released = [i for i in items if states.is_success(map.codes[i]) and not map.values.has_value(i)]
        if released:
            self._make_again(map, released)
