"""What goes wrong: lost chunks, time-outs, an engine that is gone; and how a chunk's place comes free."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.contracts import Binding, ErrorInfo
from anabranch.core.errors import TaskTimeoutError
from anabranch.core.events import Decide, Judge, KeepInput, Shorten
from anabranch.core.reasons import make
from anabranch.core.stored_call import KeptCall
from anabranch.engine import causes
from anabranch.engine.limits import memory_limit
from anabranch.engine.ranges import runs_of
from anabranch.engine.remakes import Remakes
from anabranch.engine.retries import decide

if TYPE_CHECKING:
    from anabranch.core.contracts import ChunkLost, ItemTimedOut
    from anabranch.core.events import Verdict
    from anabranch.core.maps import MapRun
    from anabranch.engine.lanes import Sent

LATE_CHUNKS = 1024  # how many lost chunks are remembered, to refuse their late reports


class Losses(Remakes):
    """Adds ends that no report tells of."""

    def chunk_lost(self, event: ChunkLost) -> None:
        """The chunk will not report again: what it had not told is sent again or given up."""
        sent = self.sent.get(event.chunk)
        if sent is None:
            return
        self.lost_chunks[event.chunk] = (sent.lane.index, sent.reported)
        while len(self.lost_chunks) > LATE_CHUNKS:
            del self.lost_chunks[next(iter(self.lost_chunks))]
        for stage_map in sent.once:
            self.spell_out(stage_map)
        map = sent.maps[0]
        positions = range(sent.reported, len(sent.chunk))
        map.sent -= len(positions)
        self._retire(sent)
        if event.reason == "out-of-memory":
            self._narrow(sent.maps[event.stage], sent)
        if event.reason != "returned":
            self.give_up_children(map, sent.items[0][sent.reported :])
        blamed = set(event.suspects or ())
        again: list[int] = []
        for position in positions:
            index = sent.items[0][position]
            if map.is_terminal(index) or index in map.delayed or position in sent.taken:
                continue
            if event.reason in ("stopped", "returned"):
                again.append(index)
            elif event.stage and position in blamed:
                self._blame(sent.maps[event.stage], sent.items[event.stage][position], event)
                self._send_alone(map, index)  # what the culprit reads was lost with it
            elif position in blamed or (event.suspects is None and len(positions) == 1):
                if self._blame(map, index, event):
                    self._send_alone(map, index)
            else:
                if event.suspects is None:
                    why = causes.of_crash(map, index, event.reason, final=False)
                    self.rows.append(self.item_row(map, index, states.AWAITING_RETRY, event.message, None, why))
                    map.next_attempt(index, excused=True)
                again.append(index)
        self._send_again(map, again, apart=event.suspects is None and event.reason not in ("stopped", "returned"))
        self._readmit(sent)
        for stage_map in sent.once:
            self.check_finished(stage_map)

    def _blame(self, map: MapRun, index: int, event: ChunkLost) -> bool:
        """The item was running when its worker died: one of its crash retries is spent. True: it has some left."""
        crashes = map.crashes[index] = map.crashes.get(index, 0) + 1
        if event.reason == "out-of-memory":
            map.starved[index] = map.starved.get(index, 0) + 1
        text = f"{event.reason}: {event.message}" if event.message else event.reason
        if event.reason == "unserializable":
            self.end_items(map, (index,), states.FAILED, text, reason=make("unserializable"))
        elif crashes >= max(1, map.options.crash_retries):
            why = causes.of_crash(map, index, event.reason, final=True)
            self._keep_input(map, index)
            text = text if crashes == 1 else deaths_of(map, index, text)
            self.end_items(map, (index,), states.CRASHED, text, reason=why)
        else:
            text = deaths_of(map, index, text) if index in map.starved else text
            why = causes.of_crash(map, index, event.reason, final=False)
            self.rows.append(self.item_row(map, index, states.AWAITING_RETRY, text, None, why))
            map.next_attempt(index, excused=True)
            map.messages[index] = text
            return True
        return False

    def _narrow(self, map: MapRun, sent: Sent) -> None:
        """Items of this map ran out of memory: half as many of its chunks may run at once, next time one alone."""
        name = memory_limit(map)
        now = self.limits.capacity.get(name, 0)
        if now == 1 or sent.at_once != now:  # what was sent before the last step down has been answered by it
            return
        for waiting in self.limits.set(name, 1 if now else max(1, sent.lane.slots // 2)):
            self.enqueue(waiting)
        if now:
            return
        map.limits = (*map.limits, name)
        for other in self.sent.values():  # what is under way counts; what of it has not begun comes back
            if map in other.maps:
                other.limits = (*other.limits, name)
                self.limits.used[name] = self.limits.used.get(name, 0) + other.places
                self.out.append(Shorten(other.lane.index, other.chunk.id, 0))

    def _send_alone(self, map: MapRun, index: int) -> None:
        if self.with_inputs(map, [index]):
            self.make_ready(map, index, index + 1, exact=True)

    def _send_again(self, map: MapRun, items: list[int], *, apart: bool) -> None:
        """Unfinished items go out again; when it is unknown which of them did it, in eighths."""
        items = self.with_inputs(map, items)
        if not apart:
            for lo, hi in runs_of(items):
                self.make_ready(map, lo, hi, front=False)
            return
        size = max(1, -(-len(items) // 8))
        for lo, hi in runs_of(items):
            for start in range(lo, hi, size):
                self.make_ready(map, start, min(start + size, hi), exact=True)

    def item_timed_out(self, event: ItemTimedOut) -> None:
        """A running item was stopped (or written off) at its time."""
        sent = self.sent.get(event.chunk)
        if sent is None:
            return
        map = sent.maps[event.stage]
        index = sent.items[event.stage][event.position]
        if map.is_terminal(index) or event.position in sent.taken:  # taken back: it begins anew elsewhere
            return
        self.spell_out(map)
        sent.dirty = True
        if event.stage == 0:  # it comes back by itself, not with the rest of the chunk
            sent.taken.add(event.position)
        message = f"Task run exceeded timeout of {event.seconds} second(s)"
        delay = decide(map.options, map.counted(index), TaskTimeoutError(""), self.rng)
        options = map.options
        if delay is None:
            self._out_of_time(map, index, message)
        elif options.retry_condition_fn is not None or options.on_retry or options.state_handlers:
            map.delayed[index] = (math.inf, states.AWAITING_RETRY)
            self.out.append(Decide(map, index, delay, message))
        else:
            self._again(map, index, delay, message)

    def decided(self, asked: Decide, found: Verdict | None) -> None:
        """The user's condition (None: it wants no more) and handlers have seen a time-out with retries left."""
        map, index = asked.map, asked.index
        if map.is_terminal(index):  # cancelled meanwhile
            return
        if found is not None and found.code != states.AWAITING_RETRY:
            self.judged(Judge(map, index, states.TIMED_OUT, asked.message, _late(asked.message)), found)
            return
        del map.delayed[index]
        if found is None:
            self._out_of_time(map, index, asked.message)
        else:
            self._again(map, index, found.delay, found.message)

    def _out_of_time(self, map: MapRun, index: int, message: str) -> None:
        self._keep_input(map, index)
        self.end_items(map, (index,), states.TIMED_OUT, message, _late(message))

    def _again(self, map: MapRun, index: int, delay: float, message: str) -> None:
        info = _late(message)
        why = causes.of_end(map, index, states.AWAITING_RETRY, info, "timeout")
        self.rows.append(self.item_row(map, index, states.AWAITING_RETRY, message, info, why))
        self.give_up_children(map, (index,))
        map.next_attempt(index, excused=False)
        self.delay(map, index, delay, states.AWAITING_RETRY)

    def _keep_input(self, map: MapRun, index: int) -> None:
        """The item is given up where no worker can store what it was called with."""
        if not map.resumable or map.is_terminal(index):
            return
        given, source = map.args.get(index), map.source
        if source is not None and source.random_access:
            given = source.at(index)
        upstreams = map.feeds or map.item_upstreams.get(index, ())
        map.call = map.call or KeptCall(Binding(star=True))  # submits travel as whole calls
        self.out.append(KeepInput(map, index, given, tuple(upstreams), map.call))

    def engine_lost(self, lane: int, reason: str) -> None:
        """Nothing will come from this runner any more: all it held or was to do has crashed."""
        self.lanes[lane].lost = reason
        for sent in [s for s in self.sent.values() if s.lane.index == lane]:
            sent.reported = len(sent.chunk)
            sent.maps[0].sent -= len(sent.chunk) - sent.reported
            self._retire(sent)
        for map in list(self.maps.values()):
            if map.lane == lane and not map.finished:
                map.sent = 0
                map.closed = True
                why = make("budget/engine-lost")
                self.end_items(map, range(len(map.codes)), states.CRASHED, f"engine-lost: {reason}", reason=why)

    # -- a chunk that is over ---------------------------------------------------------------------

    def _readmit(self, sent: Sent) -> None:
        """Items that travelled behind a producer that was given up meanwhile: nobody else will look at them again."""
        if not sent.dirty:
            return
        for stage_map, items in zip(sent.maps[1:], sent.items[1:], strict=True):
            for lo, hi in runs_of(i for i in items if stage_map.feeds and not stage_map.is_terminal(i)):
                self.admit_range(stage_map, lo, hi)

    def _retire(self, sent: Sent) -> None:
        chunk = sent.chunk.id
        del self.sent[chunk]
        for map in sent.once:
            map.running.discard(chunk)
            if map.forgotten and not map.running:
                self.drop_shared(map)
        sent.lane.in_flight -= 1
        sent.lane.blocked -= sent.waiting > 0
        self.dirty_lanes.add(sent.lane.index)
        if sent.limits:
            for map in self.limits.give_back(sent.limits, sent.places):
                self.enqueue(map)


def _late(message: str) -> ErrorInfo:
    return ErrorInfo("TaskTimeoutError", message, "", exception=TaskTimeoutError(message))


def deaths_of(map: MapRun, index: int, text: str) -> str:
    """How often an item's worker died under it, those for want of memory apart, and of what the last time."""
    starved = map.starved.get(index, 0)
    others = map.crashes[index] - starved
    if not starved:
        return f"poison: its worker died {others} times while it ran ({text})"
    also = f", and its worker died {_times(others)} of something else" if others else ""
    return f"out of memory {_times(starved)}{also} ({text})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
