"""Items that were stopped, or written off, at their time limit."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.errors import TaskTimeoutError
from anabranch.core.instructions import AskHandlers, AskRetry
from anabranch.core.reports import ErrorInfo
from anabranch.engine import causes
from anabranch.engine.fusing import materialize
from anabranch.engine.known_inputs import keep_input
from anabranch.engine.retries import decide
from anabranch.engine.rows import item_row

if TYPE_CHECKING:
    from anabranch.core.events import ItemTimedOut
    from anabranch.core.instructions import Verdict
    from anabranch.core.maps import MapRun
    from anabranch.engine.board import Board


class Timeouts:
    """Retries items that ran past their time, or ends them.

    Args:
        rng: for the jitter of delays.
    """

    def __init__(self, board: Board, rng: random.Random | None = None) -> None:
        self._board = board
        self._tables = board.tables
        self._rng = rng or random.Random()

    def item_timed_out(self, event: ItemTimedOut) -> None:
        """Handle a running item that was stopped (or written off) at its time."""
        sent = self._tables.sent.get(event.chunk)
        if sent is None:
            return
        map = sent.maps[event.stage]
        index = sent.items[event.stage][event.position]
        if map.is_terminal(index) or event.position in sent.taken:  # taken back: it begins again elsewhere
            return
        materialize(self._board.ledger, map)
        sent.dirty = True
        if event.stage == 0:  # it comes back alone, not with the rest of the chunk
            sent.taken.add(event.position)
        message = f"Task run exceeded timeout of {event.seconds} second(s)"
        delay = decide(map.options, map.counted(index), TaskTimeoutError(""), self._rng)
        options = map.options
        if delay is None:
            self._out_of_time(map, index, message)
        elif options.retry_condition_fn is not None or options.on_retry or options.state_handlers:
            map.queue.delayed[index] = (math.inf, states.AWAITING_RETRY)
            self._tables.out.append(AskRetry(map, index, delay, message))
        else:
            self._again(map, index, delay, message)

    def retry_answered(self, asked: AskRetry, found: Verdict | None) -> None:
        """Take in the answer of the user's condition (None: no retry) and handlers about a time-out."""
        map, index = asked.map, asked.index
        if map.is_terminal(index):  # cancelled meanwhile
            return
        if found is not None and found.code != states.AWAITING_RETRY:
            late = AskHandlers(map, index, states.TIMED_OUT, asked.message, _late(asked.message))
            self._board.handlers_answered(late, found)
            return
        del map.queue.delayed[index]
        if found is None:
            self._out_of_time(map, index, asked.message)
        else:
            self._again(map, index, found.delay, found.message)

    def _out_of_time(self, map: MapRun, index: int, message: str) -> None:
        keep_input(self._tables.out, map, index)
        self._board.end_items(map, (index,), states.TIMED_OUT, message, _late(message))

    def _again(self, map: MapRun, index: int, delay: float, message: str) -> None:
        info = _late(message)
        why = causes.of_end(map, index, states.AWAITING_RETRY, info, "timeout")
        self._tables.rows.append(item_row(self._tables.wall, map, index, states.AWAITING_RETRY, message, info, why))
        self._board.cancelling.cancel_children(map, (index,))
        map.next_attempt(index, uncounted=False)
        self._board.timers.delay(map, index, delay, states.AWAITING_RETRY)


def _late(message: str) -> ErrorInfo:
    return ErrorInfo("TaskTimeoutError", message, "", exception=TaskTimeoutError(message))
