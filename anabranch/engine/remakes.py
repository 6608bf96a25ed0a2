"""Values made again after their worker was lost, from recipes: an item's arguments, and what it read.

    g.map(source) --A--> f.map(A) --B--> reader        B[3] was on a worker that died, A[3] is let go
                                                        A[3] runs again, then B[3], each one attempt further

An engine may lose what it holds at any time, so there a recipe outlives its item: it goes when neither
the item's value nor any value made of it can be asked for any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.reasons import make
from anabranch.engine.adopting import Adopting
from anabranch.engine.ranges import runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.contracts import Handle
    from anabranch.core.maps import MapRun, ValueBlock

_LOST = make("budget/value-lost")


class Remakes(Adopting):
    """Adds the loss of values, and what it takes to have them again."""

    def values_lost(self, lane: int, handles: Sequence[Handle]) -> None:
        """Blocks are gone with their worker: items whose value may still be read run again."""
        gone = set(handles)
        for map in list(self.maps.values()):
            if map.lane != lane:
                continue
            for block in dict.fromkeys([*map.blocks, *map.moved.values()]):
                if block is not None and block.handle in gone:
                    self._remake(map, block)

    def _remake(self, map: MapRun, block: ValueBlock) -> None:
        wanted = [
            i for i in block.indices() if states.is_success(map.codes[i]) and self.ledger.wanted_item(map, i)
        ]
        self.ledger.lost(map, block)
        self._make_again(map, wanted)

    def _make_again(self, map: MapRun, items: list[int]) -> None:
        """Items that had ended well run once more; what they read and was let go meanwhile runs before them."""
        for index in items:
            self.rows.append(self.item_row(map, index, states.AWAITING_RETRY, "value-lost", None, _LOST))
            map.codes[index] = states.PENDING
            map.next_attempt(index, excused=True)
            map.messages[index] = "value-lost"
        map.done -= len(items)
        self.call_back(map, set(items))
        again = [i for i in items if self._read_again(map, i)]
        if len(again) < len(items):
            text = "value-lost: its worker died, and what it was made of is not there any more"
            why = make("budget/value-lost", final=True)
            self.end_items(map, sorted(set(items).difference(again)), states.CRASHED, text, reason=why)
        for lo, hi in runs_of(self.with_inputs(map, again)):
            self.make_ready(map, lo, hi)

    def _read_again(self, map: MapRun, index: int) -> bool:
        """Be a reader of the item's inputs once more; False when there is no recipe."""
        ups = map.recipes.pop(index, ())
        if ups:
            map.item_upstreams[index] = ups
        for feed in map.feeds:
            self.ledger.add_item_reader(feed.map, index)
            self._bring_back(feed.map, (index,))
        for up in ups:
            if up.value:
                self.hold(up)
                self._bring_back(up.map, range(len(up.map.codes)) if up.item is None else (up.item,))
        return map.source is None or map.source.random_access or index in map.args

    def _bring_back(self, map: MapRun, items: Sequence[int]) -> None:
        """Make what was let go of an input again."""
        released = [i for i in items if states.is_success(map.codes[i]) and not map.has_value(i)]
        if released:
            self._make_again(map, released)

    # -- recipes -----------------------------------------------------------------------------------

    def give_away(self, map: MapRun, lo: int, hi: int) -> None:
        """The stream has these values in hand: they are its own now, and nobody has them made again."""
        super().give_away(map, lo, hi)
        handles, map.list_handles = map.list_handles, 0
        self._forget_recipes(map, range(lo, hi))
        map.list_handles = handles

    def list_gone(self, map: MapRun) -> None:
        super().list_gone(map)
        self._forget_recipes(map, range(len(map.codes)))

    def handle_gone(self, map: MapRun, index: int) -> None:
        super().handle_gone(map, index)
        if (map.recipes or map.args) and map.is_terminal(index):
            self._forget_recipes(map, (index,))

    def _forget_arguments(self, map: MapRun, items: Sequence[int]) -> None:
        if self.recipe_needed(map):
            self._forget_recipes(map, items)
        else:
            super()._forget_arguments(map, items)

    def _forget_recipes(self, map: MapRun, items: Sequence[int]) -> None:
        """Those of items that nobody asks for, and of what these were made of."""
        if map.list_handles or not self.recipe_needed(map):
            return
        spent = [i for i in items if self._spent(map, i)]
        for index in spent:
            map.args.pop(index, None)
            map.recipes.pop(index, None)
        for feed in map.feeds:
            if spent:
                self._forget_recipes(feed.map, spent)

    def _spent(self, map: MapRun, index: int) -> bool:
        """Whether neither this value nor one that is made of it can be asked for any more."""
        return (
            map.is_terminal(index)
            and not map.read_singly
            and not self.ledger.wanted_item(map, index)
            and all(index < len(m.codes) and self._spent(m, index) for m in map.map_consumers)
        )
