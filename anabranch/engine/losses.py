"""What goes wrong: lost chunks and values, time-outs, an engine that is gone; and how a chunk's place comes free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.contracts import ErrorInfo
from anabranch.core.errors import TaskTimeoutError
from anabranch.core.events import Decide
from anabranch.core.walk import Hole, lift
from anabranch.engine.assemble import PIPE
from anabranch.engine.intake import Intake
from anabranch.engine.ranges import runs_of
from anabranch.engine.retries import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.contracts import ChunkLost, Handle, ItemTimedOut
    from anabranch.core.maps import MapRun, ValueBlock
    from anabranch.engine.lanes import Sent

LATE_CHUNKS = 1024  # how many lost chunks are remembered, to refuse their late reports


class Losses(Intake):
    """Adds ends that no report tells of."""

    def chunk_lost(self, event: ChunkLost) -> None:
        """The chunk will not report again: what it had not told is sent again or given up."""
        sent = self.sent.get(event.chunk)
        if sent is None:
            return
        self.lost_chunks[event.chunk] = (sent.lane.index, sent.reported)
        while len(self.lost_chunks) > LATE_CHUNKS:
            del self.lost_chunks[next(iter(self.lost_chunks))]
        map = sent.maps[0]
        positions = range(sent.reported, len(sent.chunk))
        map.sent -= len(positions)
        self._retire(sent)
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
                    map.attempts[index] = map.attempt(index) + 1
                again.append(index)
        self._send_again(map, again, apart=event.suspects is None and event.reason not in ("stopped", "returned"))
        self._readmit(sent)
        for stage_map in sent.maps:
            self.check_finished(stage_map)

    def _blame(self, map: MapRun, index: int, event: ChunkLost) -> bool:
        """The item was running when its worker died: one of its crash retries is spent. True: it has some left."""
        crashes = map.crashes[index] = map.crashes.get(index, 0) + 1
        text = f"{event.reason}: {event.message}" if event.message else event.reason
        if event.reason == "unserializable":
            self.end_items(map, (index,), states.FAILED, text)
        elif crashes >= max(1, map.options.crash_retries):
            poison = f"poison: its worker died {crashes} times while it ran ({text})" if crashes > 1 else text
            self.end_items(map, (index,), states.CRASHED, poison)
        else:
            self.rows.append(self.item_row(map, index, states.AWAITING_RETRY, text, None))
            map.attempts[index] = map.attempt(index) + 1
            map.messages[index] = text
            return True
        return False

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
        sent.dirty = True
        if event.stage == 0:  # it comes back by itself, not with the rest of the chunk
            sent.taken.add(event.position)
        message = f"Task run exceeded timeout of {event.seconds} second(s)"
        if map.options.retry_condition_fn is not None and map.attempt(index) <= map.options.retries:
            map.delayed[index] = (float("inf"), states.AWAITING_RETRY)
            self.out.append(Decide(map, index))
            return
        self.decided(map, index, self._timeout_delay(map, index), message)

    def _timeout_delay(self, map: MapRun, index: int) -> float | None:
        return decide(map.options, map.attempt(index), TaskTimeoutError(""), self.rng)

    def decided(self, map: MapRun, index: int, delay: float | None, message: str) -> None:
        """A timed-out item gets another attempt after `delay` seconds, or (None) its final state."""
        map.delayed.pop(index, None)
        info = ErrorInfo("TaskTimeoutError", message, "", exception=TaskTimeoutError(message))
        if delay is None:
            self.end_items(map, (index,), states.TIMED_OUT, message, info)
            return
        self.rows.append(self.item_row(map, index, states.AWAITING_RETRY, message, info))
        self.give_up_children(map, (index,))
        map.attempts[index] = map.attempt(index) + 1
        self.delay(map, index, delay, states.AWAITING_RETRY)

    def values_lost(self, lane: int, handles: Sequence[Handle]) -> None:
        """Blocks are gone with their worker: items whose value may still be read run again."""
        gone = set(handles)
        for map in list(self.maps.values()):
            if map.lane != lane:
                continue
            for block in dict.fromkeys([*map.blocks, *map.moved.values()]):
                if block.handle in gone:
                    self._remake(map, block)

    def _remake(self, map: MapRun, block: ValueBlock) -> None:
        wanted = [
            i for i in block.indices() if states.is_success(map.codes[i]) and self.ledger.wanted_item(map, i)
        ]
        self.ledger.lost(map, block)
        for index in wanted:
            map.codes[index] = states.PENDING
            map.attempts[index] = map.attempt(index) + 1
            map.messages[index] = "value-lost"
        map.done -= len(wanted)
        self.call_back(map, set(wanted))
        hopeless = {i for i in wanted if not self._can_be_made_again(map, i)}
        for lo, hi in runs_of(self.with_inputs(map, [i for i in wanted if i not in hopeless])):
            self.make_ready(map, lo, hi)
        if hopeless:  # better no value than one made of something else
            text = "value-lost: it died with its worker, and what it was made from was released: keep a future to that"
            self.end_items(map, sorted(hopeless), states.CRASHED, text)

    def _can_be_made_again(self, map: MapRun, index: int) -> bool:
        """Whether all that the item was called with is still there."""
        for up in map.feeds:
            block = up.map.block_of(index) if states.is_success(up.map.codes[index]) else None
            if states.is_success(up.map.codes[index]) and (block is None or block.content is None):
                return False
        if not map.starred or map.item_upstreams.get(index):
            return True
        call = map.args.get(index)
        return call is not None and call is not PIPE and not lift(call, lambda part: isinstance(part, Hole))[1]

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
                self.end_items(map, range(len(map.codes)), states.CRASHED, f"engine-lost: {reason}")

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
        for map in sent.maps:
            map.running.discard(chunk)
            if map.forgotten and not map.running:
                self.drop_shared(map)
        sent.lane.in_flight -= 1
        sent.lane.blocked -= sent.waiting > 0
        self.dirty_lanes.add(sent.lane.index)
        if sent.limits:
            for map in self.limits.give_back(sent.limits):
                self.enqueue(map)
