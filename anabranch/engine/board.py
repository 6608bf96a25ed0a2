"""What there is: lanes, maps, who may run, who still reads. The ground floor of the dispatcher.

`intake.py` adds the way in (maps and submits), `dispatch.py` the way out to runners and back.
All three are one state machine, split by what they are about; see `dispatch.py` for the whole.
"""

from __future__ import annotations

import heapq
import itertools
import random
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.contracts import ErrorInfo
from anabranch.core.events import Drop, Pull, RunHooks
from anabranch.core.runs import ItemRow, MapRow
from anabranch.engine import triggers
from anabranch.engine.chunks import Pace, window
from anabranch.engine.lanes import Lane
from anabranch.engine.ledger import Ledger
from anabranch.engine.limits import Limits
from anabranch.engine.ranges import in_ranges, remove_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import Capabilities
    from anabranch.core.events import Instruction
    from anabranch.core.maps import MapRun, Upstream
    from anabranch.core.runs import Row
    from anabranch.engine.lanes import Sent


class Board:
    """All maps of one program, and the moves that every event may lead to."""

    def __init__(self, *, rng: random.Random | None = None) -> None:
        self.out: list[Instruction] = []
        self.rows: list[Row] = []
        self.wake: list[Callable[[], None]] = []
        self.lanes: list[Lane] = []
        self.maps: dict[str, MapRun] = {}
        self.sent: dict[int, Sent] = {}
        self.lost_chunks: dict[int, int] = {}  # the last few, to tell late reports from repeated ones
        self.paces: dict[int, Pace] = {}  # by shared id of the task
        self.ledger = Ledger()
        self.limits = Limits()
        self.timers: list[tuple[float, int, MapRun, int]] = []
        self.now = 0.0
        self.wall = 0.0
        self.rng = rng or random.Random()
        self._chunk_ids = itertools.count(1)
        self._refs = itertools.count(1)
        self.dirty_lanes: set[int] = set()
        self._tick = itertools.count()

    # -- runners ---------------------------------------------------------------------------------

    def add_lane(self, capabilities: Capabilities, slots: int, maximum: int | None) -> int:
        self.lanes.append(Lane(len(self.lanes), capabilities, slots, maximum))
        return len(self.lanes) - 1

    def slots_changed(self, lane: int, now: int, maximum: int | None) -> None:
        self.lanes[lane].slots = now
        self.lanes[lane].maximum = maximum
        self.dirty_lanes.add(lane)

    def new_ref(self) -> int:
        """A fresh id for a shared value."""
        return next(self._refs)

    def new_chunk_id(self) -> int:
        return next(self._chunk_ids)

    def pace(self, map: MapRun) -> Pace:
        found = self.paces.get(map.spec_ref)
        if found is None:
            found = self.paces[map.spec_ref] = Pace()
        return found

    # -- becoming ready --------------------------------------------------------------------------

    def make_ready(self, map: MapRun, lo: int, hi: int, *, exact: bool = False, front: bool = False) -> None:
        """Items [lo, hi) may be sent; `exact` sends them as one chunk of just these."""
        if hi <= lo:
            return
        last = map.ready[-1] if map.ready else None
        if last is not None and last[1] == lo and not exact and not last[2] and not front:
            map.ready[-1] = (last[0], hi, False)
        elif front:
            map.ready.appendleft((lo, hi, exact))
        else:
            map.ready.append((lo, hi, exact))
        self.enqueue(map)

    def enqueue(self, map: MapRun) -> None:
        """Put the map among those its lane sends from: urgent first, then deepest, then oldest."""
        if not map.on_lane and map.ready and map.constants_ready and map.gate == 0:
            map.on_lane = True
            lane = self.lanes[map.lane]
            heapq.heappush(lane.runnable, (-map.options.priority, -map.depth, map.serial, map))
            self.dirty_lanes.add(map.lane)

    def admit_range(self, map: MapRun, lo: int, hi: int) -> None:
        """Upstream items [lo, hi) of an item-wise map have ended, all or in part."""
        hi = min(hi, len(map.codes))
        if lo >= hi or map.gate or not map.constants_ready:
            return
        if len(map.feeds) == 1 and map.options.trigger is None:
            codes = map.feeds[0].map.codes[lo:hi]
            whole = codes.count(states.COMPLETED) == hi - lo and not map.feeds[0].map.gaps
            if whole and not any(map.codes[lo:hi]):
                if map.delayed or map.sent or map.ready:
                    self._admit_each(map, lo, hi)
                else:
                    self.make_ready(map, lo, hi)
                return
        self._admit_each(map, lo, hi)

    def _admit_each(self, map: MapRun, lo: int, hi: int) -> None:
        known = in_ranges(map.ready, lo, hi) | self.in_flight(map, lo, hi) if map.sent or map.ready else set()
        start = lo
        for index in range(lo, hi):
            ended = all(u.map.is_terminal(index) for u in map.feeds)
            fresh = not map.is_terminal(index) and index not in map.delayed and index not in known
            if ended and fresh and self._admitted(map, index, map.feeds, at=index):
                continue
            self.make_ready(map, start, index)
            start = index + 1
        self.make_ready(map, start, hi)

    def admit_item(self, map: MapRun, index: int) -> None:
        """All upstreams of a single item have ended."""
        if map.is_terminal(index) or index in map.delayed:
            return
        if self._admitted(map, index, map.item_upstreams.get(index, ())):
            self.make_ready(map, index, index + 1)

    def _admitted(self, map: MapRun, index: int, upstreams: Sequence[Upstream], at: int | None = None) -> bool:
        problem = triggers.refusal(upstreams, map.options.trigger, at=at)
        if problem is None:
            released = triggers.released(upstreams, at)
            if released is None:
                return True
            info = ErrorInfo("ResultReleased", str(released), "", exception=released)
            self.end_items(map, (index,), states.FAILED, str(released), info)
            return False
        map.causes[index] = triggers.culprits(upstreams, at)
        self.end_items(map, (index,), states.TRIGGER_FAILED, problem)
        return False

    def in_flight(self, map: MapRun, lo: int, hi: int) -> set[int]:
        """Items of [lo, hi) that are in a chunk now."""
        found: set[int] = set()
        for chunk_id in map.running:
            sent = self.sent[chunk_id]
            for stage_map, items in zip(sent.maps, sent.items, strict=True):
                if stage_map is map:
                    found.update(i for i in items[sent.reported :] if lo <= i < hi)
        return found

    # -- ending ----------------------------------------------------------------------------------

    def end_items(
        self,
        map: MapRun,
        items: Sequence[int],
        code: int,
        message: str = "",
        error: ErrorInfo | None = None,
        *,
        hooks: bool = True,
    ) -> None:
        """Give items that are not yet terminal a final state decided in the driver, and tell the rest."""
        ended = [i for i in items if not map.is_terminal(i)]
        if not ended:
            self.check_finished(map)
            return
        for index in ended:
            map.codes[index] = code
            map.delayed.pop(index, None)
            if message:
                map.messages[index] = message
            if error is not None:
                map.errors[index] = error
            self.rows.append(self.item_row(map, index, code, message, error))
        map.done += len(ended)
        remove_from(map.ready, set(ended))
        if hooks and _has_hooks(map, code):
            self.out.extend(RunHooks(map, i, code, message) for i in ended)
        self.ended(map, ended)

    def item_row(self, map: MapRun, index: int, code: int, message: str, error: ErrorInfo | None) -> ItemRow:
        name = map.state_names.get(index) or states.NAMES[code][0]
        return ItemRow(
            map.id,
            index,
            map.attempt(index),
            code,
            name,
            map.names.get(index, ""),
            message,
            None,
            self.wall if code >= states.FIRST_TERMINAL else None,
            "",
            error.type_name if error else "",
            error.traceback if error else "",
        )

    def ended(self, map: MapRun, items: Sequence[int]) -> None:
        """Items have just become terminal: free what they read, wake and admit who waited for them."""
        self._inputs_read(map, items)
        contiguous = isinstance(items, range)
        lo, hi = (items[0], items[-1] + 1) if items else (0, 0)
        for consumer in dict.fromkeys(map.map_consumers):
            if contiguous:
                self.admit_range(consumer, lo, hi)
            else:
                for index in items:
                    self.admit_range(consumer, index, index + 1)
        if map.item_consumers:
            few = len(items) < len(map.item_consumers)
            for index in items if few else [i for i in map.item_consumers if i in items]:
                for consumer, which in map.item_consumers.pop(index, ()):
                    self._upstream_ended(consumer, which)
        if map.waiters:
            for key in items if len(items) < len(map.waiters) else [i for i in map.waiters if i in items]:
                self.wake.extend(map.waiters.pop(key, ()))
        for call in map.subscribers:
            call(map, items)
        self._forget_arguments(map, items)
        self.check_finished(map)

    def drop_shared(self, map: MapRun) -> None:
        """What workers know of a map that nobody needs any more."""
        refs = tuple(r for r in (map.stage_ref, map.pipe_ref, map.constants_ref) if r)
        if refs:
            self.out.append(Drop(map.lane, refs))

    def _inputs_read(self, map: MapRun, items: Sequence[int]) -> None:
        for up in map.feeds:
            if up.allow_failure or map.options.trigger is not None:
                for index in items:
                    if states.is_success(map.codes[index]):
                        self.handled_by_consumer(up, index)
        for feed in dict.fromkeys(u.map for u in map.feeds):
            if isinstance(items, range):
                self.ledger.items_read(feed, items[0], items[-1] + 1)
            else:
                for index in items:
                    self.ledger.items_read(feed, index, index + 1)
        if map.item_upstreams:
            for index in items:
                for up in map.item_upstreams.pop(index, ()):
                    if states.is_success(map.codes[index]):
                        self.handled_by_consumer(up, None)
                    if up.value:
                        self.let_go(up)
                map.blocked_items.pop(index, None)

    def handled_by_consumer(self, up: Upstream, at: int | None) -> None:
        """A consumer that was admitted in spite of failures has completed: they are handled."""
        for failed, index in triggers.culprits((up,), at):
            failed.handle(index)

    def _forget_arguments(self, map: MapRun, items: Sequence[int]) -> None:
        if map.args and not self.recipe_needed(map):
            for index in items:
                map.args.pop(index, None)

    def recipe_needed(self, map: MapRun) -> bool:
        """Whether arguments must outlive their item, to make a lost value again."""
        lane = self.lanes[map.lane].capabilities
        return map.keep and lane.values == "held" and not lane.values_survive_workers

    def _upstream_ended(self, map: MapRun, index: int) -> None:
        if index < 0:
            map.gate -= 1
            if map.gate == 0:
                self.gate_opened(map)
            return
        left = map.blocked_items.get(index)
        if left is None:
            return
        if left > 1:
            map.blocked_items[index] = left - 1
            return
        del map.blocked_items[index]
        self.admit_item(map, index)

    def check_finished(self, map: MapRun) -> None:
        """Tell those who wait for all of the map once its last item has ended."""
        if not map.finished or map.sent:
            return
        consumers, map.list_consumers = map.list_consumers, []
        for consumer, index in consumers:
            self._upstream_ended(consumer, -1 if index is None else index)
        self.wake.extend(map.waiters.pop(None, ()))
        for beyond in [i for i in map.waiters if i is not None and i >= len(map.codes)]:
            self.wake.extend(map.waiters.pop(beyond))
        if map.kind == "map" and map.ended_at is None:
            map.ended_at = self.wall
            counts = states.Counts(map.codes).as_dict()
            self.rows.append(
                MapRow(map.id, map.flow_run_id, map.spec.name, map.kind, len(map.codes), map.created, self.wall, counts,
                       map.parent_id, map.tags)
            )  # fmt: skip

    # -- readers ---------------------------------------------------------------------------------

    def handle_taken(self, map: MapRun, index: int) -> None:
        map.handles[index] = map.handles.get(index, 0) + 1

    def handle_gone(self, map: MapRun, index: int) -> None:
        self.ledger.item_handle_gone(map, index)

    def list_gone(self, map: MapRun) -> None:
        map.list_handles -= 1
        self.ledger.list_gone(map)

    def seal(self, map: MapRun) -> None:
        """Somebody waits for all of the map: an iterator is pulled to its end."""
        map.sealed = True
        for feed in map.feeds:
            self.seal(feed.map)
        self.pull(map)
        self.enqueue(map)

    def stream_opened(self, map: MapRun) -> None:
        map.stream = map.consumed
        for feed in map.feeds:
            if feed.map.stream is None:
                self.seal(feed.map)
        self.pull(map)

    def stream_advanced(self, map: MapRun, upto: int, release: bool) -> None:
        """The stream's reader has taken items before `upto`."""
        lo, map.consumed = map.consumed, max(map.consumed, upto)
        if release:
            self.ledger.give_up(map, lo, upto)
        self.pull(map)
        self.enqueue(map)

    def taken(self, map: MapRun, index: int) -> None:
        """A stream in order of completion has taken one item."""
        map.consumed += 1
        self.ledger.give_up(map, index, index + 1)
        self.pull(map)
        self.enqueue(map)

    def unsubscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        if call in map.subscribers:
            map.subscribers.remove(call)

    def stream_closed(self, map: MapRun, *, finished: bool) -> None:
        map.stream = None
        if not finished and not map.closed:
            self.cancel_map(map, unpulled_only=True)
        self.enqueue(map)


    def wait_for(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        """Call `call` once the item (None: the whole map) is terminal; at once if it is."""
        if map.finished if index is None else map.is_terminal(index):
            self.wake.append(call)
            return
        if index is None:
            self.seal(map)
        elif map.source is not None and index >= len(map.codes):
            if map.closed:
                self.wake.append(call)
                return
            self.pull(map)
        map.waiters.setdefault(index, []).append(call)

    def forget_waiter(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        found = map.waiters.get(index)
        if found and call in found:
            found.remove(call)
            if not found:
                del map.waiters[index]

    def subscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        """Tell `call` of items as they end, those already ended first."""
        ended = [i for i, code in enumerate(map.codes) if code >= states.FIRST_TERMINAL]
        if ended:
            call(map, ended)
        map.subscribers.append(call)

    def pull(self, map: MapRun) -> None:
        """Ask for the next elements while fewer than a window of them are ahead."""
        if map.pulling or map.closed or map.cancelled or map.source is None or map.source.random_access:
            return
        lane = self.lanes[map.lane]
        room = window(lane.slots, self.pace(map), fixed=map.window)
        ahead = len(map.codes) - (map.consumed if map.stream is not None else map.done)
        if map.stream is None and map.list_handles and map.keep and not map.sealed:
            # Nobody reads and nobody waits yet: an endless iterator must not fill the memory.
            ahead = len(map.codes) - map.consumed
        if ahead <= room // 2:
            map.pulling = True
            self.out.append(Pull(map, max(1, room - ahead)))

    def grow(self, map: MapRun, length: int) -> None:
        if length > len(map.codes):
            map.codes.extend(bytes(length - len(map.codes)))
            self.ledger.grow(map)
        for consumer in map.map_consumers:
            self.grow(consumer, min(len(u.map.codes) for u in consumer.feeds))

    def watch(self, up: Upstream, map: MapRun, index: int | None) -> None:
        if up.item is None:
            up.map.list_consumers.append((map, index))
            self.seal(up.map)
        else:
            up.map.item_consumers.setdefault(up.item, []).append((map, -1 if index is None else index))

    def hold(self, up: Upstream) -> None:
        if up.item is None:
            up.map.list_readers += 1
        else:
            self.ledger.add_item_reader(up.map, up.item)

    def let_go(self, up: Upstream) -> None:
        if up.item is None:
            up.map.list_readers -= 1
            self.ledger.list_gone(up.map)
        else:
            self.ledger.items_read(up.map, up.item, up.item + 1)

    # -- time ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has come to `now` (monotonic seconds): delayed items become ready."""
        self.now = now
        while self.timers and self.timers[0][0] <= now:
            _, _, map, index = heapq.heappop(self.timers)
            if index in map.delayed and map.delayed[index][0] <= now:
                del map.delayed[index]
                map.codes[index] = states.PENDING
                # It may have travelled behind a producer whose value was lost with it: then that comes first.
                if index not in map.blocked_items and all(u.map.is_terminal(index) for u in map.feeds):
                    self.make_ready(map, index, index + 1)

    def delay(self, map: MapRun, index: int, seconds: float, code: int) -> None:
        """The item comes back after `seconds`, holding nothing meanwhile."""
        due = self.now + seconds
        map.codes[index] = code
        map.delayed[index] = (due, code)
        heapq.heappush(self.timers, (due, next(self._tick), map, index))

    def next_due(self) -> float | None:
        return self.timers[0][0] if self.timers else None

    def gate_opened(self, map: MapRun) -> None:
        raise NotImplementedError

    def cancel_map(self, map: MapRun, *, unpulled_only: bool = False) -> None:
        raise NotImplementedError


def _has_hooks(map: MapRun, code: int) -> bool:
    options = map.options
    if options.state_handlers:
        return True
    kind = states.NAMES[code][1]
    by_kind = {
        states.StateType.FAILED: options.on_failure,
        states.StateType.CRASHED: options.on_crashed,
        states.StateType.CANCELLED: options.on_cancellation,
        states.StateType.COMPLETED: options.on_completion,
    }
    return bool(by_kind.get(kind))
