"""Windows: how far iterators are pulled, and producers run, ahead of their readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.instructions import Pull
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
        inputs, consumers = map.inputs, map.consumers
        if inputs.source is None or inputs.source.random_access or inputs.pulling or map.closed or map.queue.cancelled:
            return
        tables = self._tables
        if map.header.flow_run_id in tables.halted:
            return
        room = window(tables.lanes[map.sending.lane].slots, tables.pace(map), fixed=map.sending.window)
        streamed = consumers.stream is not None and not inputs.sealed
        ahead = len(map.codes) - (consumers.consumed if streamed else map.done)
        if consumers.stream is None and consumers.list_refs and map.keep and not inputs.sealed:
            # Without a reader or a waiter an endless iterator must not fill the memory.
            ahead = len(map.codes) - consumers.consumed
        if ahead <= room // 2:
            inputs.pulling = True
            tables.out.append(Pull(map, max(1, room - ahead)))

    def seal(self, map: MapRun) -> None:
        """Pull the map's iterator to its end, because a caller waits for the whole map."""
        map.inputs.sealed = True
        for feed in map.inputs.feeds:
            self.seal(feed.map)
        self.pull(map)
        self._tables.enqueue(map)

    def held_back(self, map: MapRun) -> bool:
        """Return whether a map must not be sent now: for its open stream, or because its flow run is told to end."""
        tables = self._tables
        if map.header.flow_run_id in tables.halted:
            return True
        if map.consumers.stream is None or map.inputs.sealed:
            return False
        room = window(tables.lanes[map.sending.lane].slots, tables.pace(map), fixed=map.sending.window)
        if map.queue.sent + map.done - map.consumers.consumed < room:
            return False
        # Later items may have filled the window (kept from an earlier driver, or while this one waited for a retry).
        # The item that the reader waits for must not stay behind them.
        return map.is_terminal(map.consumers.consumed) or not _bring_forward(map, map.consumers.consumed + room)


def _bring_forward(map: MapRun, upto: int) -> bool:
    """Put ready items from before `upto` first in line; False when there are none."""
    for at, (lo, _, _) in enumerate(map.queue.ready):
        if lo < upto:
            entry = map.queue.ready[at]
            del map.queue.ready[at]
            map.queue.ready.appendleft(entry)
            return True
    return False
