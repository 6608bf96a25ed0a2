"""Chunks that are over: their places and limits come free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.engine.ranges import runs_of

if TYPE_CHECKING:
    from anabranch.engine.board import Board
    from anabranch.engine.halting import Halts
    from anabranch.engine.lanes import Flight
    from anabranch.engine.specs import Specs


class Flights:
    """Removes chunks from the tables."""

    def __init__(self, board: Board, specs: Specs, halts: Halts) -> None:
        self._board = board
        self._tables = board.tables
        self._specs = specs
        self._halts = halts

    def retire(self, sent: Flight) -> None:
        chunk = sent.chunk.id
        del self._tables.sent[chunk]
        for map in sent.once:
            map.queue.running.discard(chunk)
            if map.header.forgotten and not map.queue.running:
                self._specs.drop_shared(map)
        sent.lane.in_flight -= 1
        sent.lane.blocked -= sent.waiting > 0
        self._tables.dirty_lanes.add(sent.lane.index)
        if self._tables.walltime is not None:
            self._tables.walltime.over(sent)
        if sent.limits:
            for map in self._tables.limits.give_back(sent.limits, sent.places):
                self._tables.enqueue(map)
        self._halts.look()

    def readmit(self, sent: Flight) -> None:
        """Admit items that travelled behind a cancelled producer: no other event does."""
        if not sent.dirty:
            return
        for stage_map, items in zip(sent.maps[1:], sent.items[1:], strict=True):
            for lo, hi in runs_of(i for i in items if stage_map.inputs.feeds and not stage_map.is_terminal(i)):
                self._board.admit_range(stage_map, lo, hi)
