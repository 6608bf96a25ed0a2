"""Plain calls and submitted flows: they run in threads of the driver, and report only their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.engine import causes
from anabranch.engine.rows import item_row, map_row

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.core.reports import ErrorInfo
    from anabranch.engine.board import Board


class Calls:
    """Keeps the tables of runs without a runner."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._tables = board.tables

    def open(self, map: MapRun) -> None:
        """Take in a series of plain calls, which run in their callers' threads and report only their ends."""
        self._tables.maps[map.id] = map
        map.header.began = self._tables.now
        map.closed = True
        self._tables.rows.append(map_row(map, None, None, {}))

    def began(self, map: MapRun, index: int) -> None:
        self._board.grow(map, index + 1)
        map.codes[index] = states.RUNNING

    def again(self, map: MapRun, index: int, message: str, error: ErrorInfo | None, reason: str) -> None:
        """Note that an attempt of a plain call failed, and another follows in its caller's thread."""
        why = causes.of_end(map, index, states.AWAITING_RETRY, error, reason)
        self._tables.rows.append(item_row(self._tables.wall, map, index, states.AWAITING_RETRY, message, error, why))
        map.attempts[index] = map.attempt(index) + 1

    def ended(
        self, map: MapRun, index: int, code: int, message: str, error: ErrorInfo | None, times: Any, reason: str = "",
        cache_key: str = "",
    ) -> None:  # fmt: skip
        """Note the end of a plain call; its value went to its caller."""
        if map.is_terminal(index):  # cancelled meanwhile, with the rest of its flow
            return
        map.codes[index] = code
        map.done += 1
        if self._tables.walltime is not None:
            self._tables.walltime.ended += 1
        if message:
            map.messages[index] = message
        if error is not None:
            map.errors[index] = error
        why = causes.of_end(map, index, code, error, reason, cache_key)
        row = item_row(self._tables.wall, map, index, code, message, error, why)
        row.started, row.ended = times
        self._tables.rows.append(row)
        self._board.ended(map, range(index, index + 1))

    def flow_ended(
        self, map: MapRun, index: int, code: int, message: str, error: ErrorInfo | None, times: Any, value: Any
    ) -> None:
        """Note the end of a submitted flow in its thread; its value is kept for its future."""
        if map.is_terminal(index):
            return
        if states.is_success(code):
            self._board.values.own(map, index, value)
        self.ended(map, index, code, message, error, times)
        self._board.ledger.settle(map, index, index + 1)
