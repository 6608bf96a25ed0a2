"""Losses: chunks that are lost with their worker, and an engine that is gone."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.errors import SerializationError
from anabranch.core.instructions import Shorten
from anabranch.core.reasons import make
from anabranch.core.reports import ErrorInfo
from anabranch.engine import causes
from anabranch.engine.fusing import materialize
from anabranch.engine.known_inputs import keep_input
from anabranch.engine.limits import memory_limit
from anabranch.engine.ranges import runs_of
from anabranch.engine.rows import item_row

if TYPE_CHECKING:
    from anabranch.core.events import ChunkLost
    from anabranch.core.maps import MapRun
    from anabranch.engine.board import Board
    from anabranch.engine.flights import Flights
    from anabranch.engine.lanes import Flight

LATE_CHUNKS = 1024  # lost chunks that are remembered, to refuse their late reports


class Fate(Enum):
    """The fate of a position that a lost chunk had not reported."""

    AGAIN = auto()  # it did not cause the loss: sent again, uncounted
    SUSPECT = auto()  # it may have caused the loss, as others may: sent again with few of them
    CULPRIT = auto()  # it caused the loss
    READ_BY_CULPRIT = auto()  # its item of a later stage caused the loss, and reads it: sent again


def verdicts(sent: Flight, event: ChunkLost) -> list[tuple[int, Fate]]:
    """Return the fate of each unfinished position; changes nothing."""
    map, items = sent.maps[0], sent.items[0]
    untold = range(sent.reported, len(sent.chunk))
    delayed = map.queue.delayed
    left = [p for p in untold if p not in sent.taken and not map.is_terminal(items[p]) and items[p] not in delayed]
    if event.reason in ("stopped", "returned"):  # the driver or the runner ended it, not an item
        return [(position, Fate.AGAIN) for position in left]
    if event.suspects is None:
        fate = Fate.CULPRIT if len(untold) == 1 else Fate.SUSPECT
        return [(position, fate) for position in left]
    blamed = Fate.READ_BY_CULPRIT if event.stage else Fate.CULPRIT
    return [(position, blamed if position in event.suspects else Fate.AGAIN) for position in left]


class Losses:
    """Sends lost items again, or ends them."""

    def __init__(self, board: Board, flights: Flights) -> None:
        self._board = board
        self._tables = board.tables
        self._flights = flights

    def chunk_lost(self, event: ChunkLost) -> None:
        """Handle a chunk that will not report again: its unreported items are sent again or ended."""
        sent = self._tables.sent.get(event.chunk)
        if sent is None:
            return
        self._remember(sent)
        for stage_map in sent.once:
            materialize(self._board.ledger, stage_map)
        map = sent.maps[0]
        map.queue.sent -= len(sent.chunk) - sent.reported
        self._flights.retire(sent)
        if event.reason == "out-of-memory":
            self._narrow(sent.maps[event.stage], sent)
        if event.reason != "returned":
            self._board.cancelling.cancel_children(map, sent.items[0][sent.reported :])
        again: list[int] = []
        apart = False
        for position, fate in verdicts(sent, event):
            index = sent.items[0][position]
            if fate is Fate.CULPRIT:
                if self._blame(map, index, event):
                    self._send_alone(map, index)
            elif fate is Fate.READ_BY_CULPRIT:
                self._blame(sent.maps[event.stage], sent.items[event.stage][position], event)
                self._send_alone(map, index)
            else:
                if fate is Fate.SUSPECT:
                    self._excuse(map, index, event)
                    apart = True
                again.append(index)
        self._send_again(map, again, apart=apart)
        self._flights.readmit(sent)
        for stage_map in sent.once:
            self._board.check_finished(stage_map)

    def _remember(self, sent: Flight) -> None:
        """Remember a lost chunk, to refuse its late report."""
        lost = self._tables.lost_chunks
        lost[sent.chunk.id] = (sent.lane.index, sent.reported)
        while len(lost) > LATE_CHUNKS:
            del lost[next(iter(lost))]

    def _excuse(self, map: MapRun, index: int, event: ChunkLost) -> None:
        """End an attempt without counting it against the item's budgets."""
        why = causes.of_crash(map, index, event.reason, final=False)
        row = item_row(self._tables.wall, map, index, states.AWAITING_RETRY, event.message, None, why)
        self._tables.rows.append(row)
        map.next_attempt(index, uncounted=True)

    def _blame(self, map: MapRun, index: int, event: ChunkLost) -> bool:
        """Spend a crash retry of an item that was running when its worker died; returns whether some are left."""
        crashes = map.budgets.crashes[index] = map.budgets.crashes.get(index, 0) + 1
        if event.reason == "out-of-memory":
            map.budgets.starved[index] = map.budgets.starved.get(index, 0) + 1
        text = f"{event.reason}: {event.message}" if event.message else event.reason
        if event.reason == "unserializable":
            error = ErrorInfo("SerializationError", event.message, "", exception=SerializationError(event.message))
            self._board.end_items(map, (index,), states.FAILED, event.message, error, make("unserializable"))
        elif crashes >= max(1, map.options.crash_retries):
            why = causes.of_crash(map, index, event.reason, final=True)
            keep_input(self._tables.out, map, index)
            text = text if crashes == 1 else deaths_of(map, index, text)
            self._board.end_items(map, (index,), states.CRASHED, text, reason=why)
        else:
            text = deaths_of(map, index, text) if index in map.budgets.starved else text
            why = causes.of_crash(map, index, event.reason, final=False)
            self._tables.rows.append(item_row(self._tables.wall, map, index, states.AWAITING_RETRY, text, None, why))
            map.next_attempt(index, uncounted=True)
            map.messages[index] = text
            return True
        return False

    def _narrow(self, map: MapRun, sent: Flight) -> None:
        """Let half as many chunks of a map run at once after an item ran out of memory; next time a single one."""
        name = memory_limit(map)
        now = self._tables.limits.capacity.get(name, 0)
        if now == 1 or sent.at_once != now:  # the last step down was the answer to chunks sent before it
            return
        for waiting in self._tables.limits.set(name, 1 if now else max(1, sent.lane.slots // 2)):
            self._tables.enqueue(waiting)
        if now:
            return
        map.sending.limits = (*map.sending.limits, name)
        for other in self._tables.sent.values():  # chunks in flight count; their items that have not begun come back
            if map in other.maps:
                other.limits = (*other.limits, name)
                self._tables.limits.used[name] = self._tables.limits.used.get(name, 0) + other.places
                self._tables.out.append(Shorten(other.lane.index, other.chunk.id, 0))

    def _send_alone(self, map: MapRun, index: int) -> None:
        if self._board.upstreams.with_inputs(map, [index]):
            self._board.make_ready(map, index, index + 1, exact=True)

    def _send_again(self, map: MapRun, items: list[int], *, apart: bool) -> None:
        """Send unfinished items again; in eighths when the culprit among them is unknown."""
        items = self._board.upstreams.with_inputs(map, items)
        if not apart:
            for lo, hi in runs_of(items):
                self._board.make_ready(map, lo, hi, front=False)
            return
        size = max(1, -(-len(items) // 8))
        for lo, hi in runs_of(items):
            for start in range(lo, hi, size):
                self._board.make_ready(map, start, min(start + size, hi), exact=True)

    def engine_lost(self, lane: int, reason: str) -> None:
        """Handle the loss of a runner: all its items and values have crashed."""
        tables, board = self._tables, self._board
        tables.lanes[lane].lost = reason
        flown: dict[MapRun, None] = {}
        for sent in [s for s in tables.sent.values() if s.lane.index == lane]:
            sent.maps[0].queue.sent -= len(sent.chunk) - sent.reported
            self._flights.retire(sent)
            flown |= dict.fromkeys(sent.once)
        for map in list(tables.maps.values()):
            if map.sending.lane == lane and not map.finished:
                map.closed = True
                why = make("budget/engine-lost")
                board.end_items(map, range(len(map.codes)), states.CRASHED, f"engine-lost: {reason}", reason=why)
        for map in flown:  # all items may have ended before: the map was waited for until its chunks came back
            board.check_finished(map)


def deaths_of(map: MapRun, index: int, text: str) -> str:
    """Return a sentence on the deaths of an item's workers, those out of memory apart, with the last cause."""
    starved = map.budgets.starved.get(index, 0)
    others = map.budgets.crashes[index] - starved
    if not starved:
        return f"poison: its worker died {others} times while it ran ({text})"
    also = f", and its worker died {_times(others)} of something else" if others else ""
    return f"out of memory {_times(starved)}{also} ({text})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
