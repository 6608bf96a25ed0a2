"""The way out: fills lanes with chunks."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from anabranch.core.instructions import Send
from anabranch.engine.assemble import next_chunk
from anabranch.engine.chunks import CHUNKS_PER_SLOT

if TYPE_CHECKING:
    from anabranch.core.chunks import Chunk
    from anabranch.engine.board import Board


class Sending:
    """Sends ready items to the runners that have room."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._tables = board.tables
        self._windows = board.windows

    def schedule(self) -> None:
        """Fill every lane that changed, up to two chunks a slot."""
        tables, walltime = self._tables, self._tables.walltime
        held_up = self._held_up() if tables.ledger.memory.behind else set()
        while tables.dirty_lanes:
            lane = tables.lanes[tables.dirty_lanes.pop()]
            chunks: list[Chunk] = []
            room = CHUNKS_PER_SLOT * lane.slots
            skipped = []
            later = []
            while lane.in_flight - lane.blocked < room and lane.runnable:
                entry = heapq.heappop(lane.runnable)
                map = entry[-1]
                map.queue.on_lane = False
                while map.queue.ready and lane.in_flight - lane.blocked < room:
                    if map.sending.limits and len(map.queue.running) >= lane.slots and tables.limits.paced(map):
                        later.append(entry)
                        skipped.append(map)
                        break
                    if walltime is not None and not walltime.room(map):
                        skipped.append(map)
                        break
                    if self._windows.held_back(map) or (map.sending.limits and not tables.limits.take(map)):
                        skipped.append(map)
                        break
                    chunk = next_chunk(self._board, lane, map)
                    if chunk is None:
                        tables.limits.give_back(map.sending.limits)
                        break
                    chunks.append(chunk)
                    lane.in_flight += 1
                    if walltime is not None:
                        walltime.sent(lane, chunk)
                if map.queue.ready and map not in skipped:
                    map.queue.on_lane = True
                    heapq.heappush(lane.runnable, entry)
            for entry in later:  # sent when a worker is free
                entry[-1].queue.on_lane = True
                heapq.heappush(lane.runnable, entry)
            if chunks:
                tables.out.append(Send(lane.index, chunks))
        tables.dirty_lanes |= held_up

    def _held_up(self) -> set[int]:
        """Return lanes that wait for the disk; inline does not, because its work would go on in another thread."""
        found = {n for n in self._tables.dirty_lanes if self._tables.lanes[n].capabilities.name != "inline"}
        self._tables.dirty_lanes -= found
        return found
