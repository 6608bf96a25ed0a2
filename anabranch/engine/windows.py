"""Windows: how far iterators are pulled, and producers run, ahead of their readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.events import Pull
from anabranch.engine.chunks import window

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.engine.tables import Tables


class Windows:
    """Pulls the iterators of maps, and holds back producers with an open stream."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def pull(self, map: MapRun) -> None:
        """Order the next elements while fewer than a window of them are ahead."""
        if map.pulling or map.closed or map.cancelled or map.source is None or map.source.random_access:
            return
        tables = self._tables
        if map.flow_run_id in tables.halted:
            return
        room = window(tables.lanes[map.lane].slots, tables.pace(map), fixed=map.window)
        ahead = len(map.codes) - (map.consumed if map.stream is not None and not map.sealed else map.done)
        if map.stream is None and map.list_handles and map.keep and not map.sealed:
            # Without a reader or a waiter an endless iterator must not fill the memory.
            ahead = len(map.codes) - map.consumed
        if ahead <= room // 2:
            map.pulling = True
            tables.out.append(Pull(map, max(1, room - ahead)))

    def seal(self, map: MapRun) -> None:
        """Pull the map's iterator to its end, because a caller waits for the whole map."""
        map.sealed = True
        for feed in map.feeds:
            self.seal(feed.map)
        self.pull(map)
        self._tables.enqueue(map)

    def held_back(self, map: MapRun) -> bool:
        """Return whether a map must not be sent now: for its open stream, or because its flow run is told to end."""
        tables = self._tables
        if map.flow_run_id in tables.halted:
            return True
        if map.stream is None or map.sealed:
            return False
        room = window(tables.lanes[map.lane].slots, tables.pace(map), fixed=map.window)
        if map.sent + map.done - map.consumed < room:
            return False
        # Later items may have filled the window (kept from an earlier driver, or while this one waited for a retry).
        # The item that the reader waits for must not stay behind them.
        return map.is_terminal(map.consumed) or not _bring_forward(map, map.consumed + room)


def _bring_forward(map: MapRun, upto: int) -> bool:
    """Put ready items from before `upto` first in line; False when there are none."""
    for at, (lo, _, _) in enumerate(map.ready):
        if lo < upto:
            entry = map.ready[at]
            del map.ready[at]
            map.ready.appendleft(entry)
            return True
    return False
