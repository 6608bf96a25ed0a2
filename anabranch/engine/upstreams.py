"""The upstreams of items: watched until they end, lost and waited for again, read and let go; see `board.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.engine import triggers
from anabranch.engine.ranges import remove_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun, Upstream
    from anabranch.engine.recipes import Recipes
    from anabranch.engine.tables import Tables
    from anabranch.engine.windows import Windows


class Upstreams:
    """The upstreams that items wait for and read."""

    def __init__(self, tables: Tables, windows: Windows, recipes: Recipes) -> None:
        self._tables = tables
        self._ledger = tables.ledger
        self._windows = windows
        self._recipes = recipes

    def watch(self, up: Upstream, map: MapRun, index: int | None) -> None:
        if up.item is None:
            up.map.consumers.lists.append((map, index))
            self._windows.seal(up.map)
        else:
            up.map.consumers.items.setdefault(up.item, []).append((map, -1 if index is None else index))

    def with_inputs(self, map: MapRun, items: list[int]) -> list[int]:
        """Return those of items to be sent again that have their inputs; the others wait for them anew."""
        if map.inputs.feeds:
            return [i for i in items if all(u.map.is_terminal(i) for u in map.inputs.feeds)]
        if not map.inputs.upstreams:
            return items
        found = []
        for index in items:
            missing = [up for up in map.inputs.upstreams.get(index, ()) if not up.ended]
            for up in missing:
                self.watch(up, map, index)
            if missing:
                map.inputs.blocked[index] = len(missing)
            else:
                found.append(index)
        return found

    def call_back(self, map: MapRun, lost: set[int]) -> None:
        """Let consumers that are not sent yet wait again for lost values. Those in flight may have read them."""
        if not lost:  # they have no readers
            return
        for consumer in map.consumers.maps:
            remove_from(consumer.queue.ready, lost)
        for other in [m for m in self._tables.maps.values() if m.inputs.upstreams and m.queue.ready]:
            back = {
                index
                for index, ups in other.inputs.upstreams.items()
                if index not in other.inputs.blocked
                and any(u.map is map and u.value and (u.item is None or u.item in lost) for u in ups)
            }
            waiting = back & {i for lo, hi, _ in other.queue.ready for i in range(lo, hi)}
            if waiting:
                remove_from(other.queue.ready, waiting)
                self.with_inputs(other, sorted(waiting))

    def read(self, map: MapRun, items: Sequence[int]) -> None:
        """Strike items that have ended off the readers of their inputs, and free what nobody else reads."""
        for up in map.inputs.feeds:
            if up.allow_failure or map.options.trigger is not None:
                for index in items:
                    if states.is_success(map.codes[index]):
                        triggers.handled(up, index)
        for feed in dict.fromkeys(u.map for u in map.inputs.feeds):
            if isinstance(items, range):
                self._ledger.items_read(feed, items[0], items[-1] + 1)
            else:
                for index in items:
                    self._ledger.items_read(feed, index, index + 1)
        if map.inputs.upstreams:
            recipes = self._recipes.needed(map)
            for index in items:
                ups = map.inputs.upstreams.pop(index, ())
                if ups and recipes:
                    map.inputs.recipes[index] = ups
                for up in ups:
                    if (up.allow_failure or map.options.trigger is not None) and states.is_success(map.codes[index]):
                        triggers.handled(up, None)
                    if up.value:
                        self._ledger.let_go(up)
                map.inputs.blocked.pop(index, None)
