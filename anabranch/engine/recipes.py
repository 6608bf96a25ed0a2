"""Recipes of values: an item's arguments and inputs, kept past the item's end to make a lost value again.

An engine may lose a value that it holds at any time. There a recipe outlives its item: it goes when neither the item's
value nor any value made of it can be read any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.engine.ranges import common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.tables import Tables


class Recipes:
    """Keeps the arguments and inputs of ended items where they may be needed, and forgets them."""

    __slots__ = ("_ledger", "_tables")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._ledger = tables.ledger

    def needed(self, map: MapRun) -> bool:
        """Return whether arguments must outlive their item, to make a lost value again."""
        lane = self._tables.lanes[map.sending.lane].capabilities
        if lane.values != "held" or lane.values_survive_workers:
            return False
        return map.keep or any(self.needed(m) for m in map.consumers.maps)

    def items_ended(self, map: MapRun, items: Sequence[int]) -> None:
        """Drop the arguments of ended items, unless they are part of a recipe."""
        if self.needed(map):
            self.forget(map, items)
        elif map.inputs.args:
            for index in common(items, map.inputs.args):
                map.inputs.args.pop(index, None)

    def forget(self, map: MapRun, items: Sequence[int]) -> None:
        """Forget the recipes of items that cannot be read any more, and of their inputs."""
        if map.consumers.list_refs or not self.needed(map):
            return
        spent = [i for i in items if self._spent(map, i)]
        for index in spent:
            map.inputs.args.pop(index, None)
            map.inputs.recipes.pop(index, None)
        for feed in map.inputs.feeds:
            if spent:
                self.forget(feed.map, spent)

    def _spent(self, map: MapRun, index: int) -> bool:
        """Return whether neither this value nor one that is made of it can be read any more."""
        return (
            map.is_terminal(index)
            and not map.consumers.read_singly
            and not self._ledger.wanted_item(map, index)
            and all(index < len(m.codes) and self._spent(m, index) for m in map.consumers.maps)
        )
