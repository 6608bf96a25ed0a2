"""What may run, and what follows from an end. The first floor of the dispatcher.

`readers.py` below holds the tables and those who read or wait; `intake.py` above adds the way in
(maps and submits), `adopting.py` what an earlier driver completed, `remakes.py` values made again, `losses.py` what
goes wrong, `dispatch.py` the way out to runners and back. All seven are one state machine, split by what they are
about; see `dispatch.py`.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any

from anabranch.core import reasons, states
from anabranch.core.contracts import ErrorInfo, Handle, Inline
from anabranch.core.errors import ResourceError
from anabranch.core.events import Judge, RunHooks
from anabranch.core.maps import Upstream, ValueBlock
from anabranch.core.runs import ItemRow
from anabranch.engine import causes, triggers
from anabranch.engine.assemble import PIPE
from anabranch.engine.capacity import shortfall
from anabranch.engine.known_inputs import given_to
from anabranch.engine.ranges import common, in_ranges, remove_from
from anabranch.engine.readers import Readers
from anabranch.engine.rows import cancelled_rows, map_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.events import Verdict
    from anabranch.core.maps import MapRun
    from anabranch.core.reasons import Reason

FEW = 16  # items that are cancelled together get a row each, more than these get columns


class Board(Readers):
    """Adds how items become ready, and how they end."""

    # -- room ------------------------------------------------------------------------------------

    def slots_changed(self, lane: int, now: int, maximum: int | None, offers: dict[str, float] | None = None) -> None:
        """Workers have come or gone; with `offers`, also what the largest of them has."""
        here = self.lanes[lane]
        here.slots, here.maximum = now, maximum
        self.dirty_lanes.add(lane)
        if offers is None or offers == here.offers:
            return
        here.offers = offers
        for map in [m for m in self.maps.values() if m.lane == lane and m.resources and not m.finished]:
            self.look_at_capacity(map)

    def look_at_capacity(self, map: MapRun) -> None:
        """Whether some worker has what the map's items need; where the runner may grow, they wait for one."""
        lane = self.lanes[map.lane]
        if not (map.resources and lane.capabilities.resources_elastic):
            return
        # Where there is no worker at all nobody can tell, and what is sent there is the demand for one.
        before, map.short = map.short, shortfall(map.resources, lane.offers) if lane.offers else ""
        if before and not map.short:
            self.short.forget(map)
            self.enqueue(map)
        elif map.short and not before:
            self.short.add(map, None, self.now + self.capacity_timeout)

    def _capacity_over(self, map: MapRun, index: int | None) -> None:
        name = self.lanes[map.lane].capabilities.name
        message = (
            f"task {map.spec.name!r} asks for {map.short} on one worker, and the {name} runner got none such within "
            f"{self.capacity_timeout:g} s: ask for less, start such workers, or wait longer (setting capacity_timeout)"
        )
        error = ErrorInfo("ResourceError", message, "", exception=ResourceError(message))
        why = reasons.make("capacity", resources=map.short, seconds=self.capacity_timeout)
        if index is None and map.kind == "map" and not map.closed:
            self.cancel_map(map, unpulled_only=True)
        self.end_items(map, range(len(map.codes)) if index is None else (index,), states.FAILED, message, error, why)

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
        """Put the map among those its lane sends from: urgent first, then deepest, then oldest.

        What a running task submitted goes before what flows did, the newest first: so few tasks wait at once
        where tasks submit tasks, and each one that waits costs a worker.
        """
        if map.flow_run_id in self.halted:
            return
        if not map.on_lane and map.ready and map.constants_ready and map.gate == 0 and not map.short:
            map.on_lane = True
            lane = self.lanes[map.lane]
            nested = bool(map.parent_id)
            order = (-map.options.priority, not nested, -map.depth, -map.serial if nested else map.serial)
            heapq.heappush(lane.runnable, (*order, map))
            self.dirty_lanes.add(map.lane)

    def set_limit(self, name: str, places: int | None) -> None:
        """Change a concurrency limit; see `engine.limits`."""
        for map in self.limits.set(name, places):
            self.enqueue(map)

    def admit_range(self, map: MapRun, lo: int, hi: int) -> None:
        """Upstream items [lo, hi) of an item-wise map have ended, all or in part."""
        hi = min(hi, len(map.codes))
        if lo >= hi or map.gate or not map.constants_ready:
            return
        if len(map.feeds) == 1 and map.options.trigger is None:
            feed = map.feeds[0].map
            there = not feed.gaps or (feed.resumable and feed.stored.covers(lo, hi))
            whole = there and feed.codes[lo:hi].count(states.COMPLETED) == hi - lo
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

    def with_inputs(self, map: MapRun, items: list[int]) -> list[int]:
        """Of items to be sent again, those whose inputs are (still) there; the others wait for them anew."""
        if map.feeds:
            return [i for i in items if all(u.map.is_terminal(i) for u in map.feeds)]
        if not map.item_upstreams:
            return items
        found = []
        for index in items:
            missing = [up for up in map.item_upstreams.get(index, ()) if not up.ended]
            for up in missing:
                self.watch(up, map, index)
            if missing:
                map.blocked_items[index] = len(missing)
            else:
                found.append(index)
        return found

    def call_back(self, map: MapRun, lost: set[int]) -> None:
        """Values that were there are lost: consumers not yet sent wait again. Those in flight may have read them."""
        if not lost:  # nobody wanted them
            return
        for consumer in map.map_consumers:
            remove_from(consumer.ready, lost)
        for other in [m for m in self.maps.values() if m.item_upstreams and m.ready]:
            back = {
                index
                for index, ups in other.item_upstreams.items()
                if index not in other.blocked_items
                and any(u.map is map and u.value and (u.item is None or u.item in lost) for u in ups)
            }
            waiting = back & {i for lo, hi, _ in other.ready for i in range(lo, hi)}
            if waiting:
                remove_from(other.ready, waiting)
                self.with_inputs(other, sorted(waiting))

    def admit_item(self, map: MapRun, index: int) -> None:
        """All upstreams of a single item have ended."""
        if map.is_terminal(index) or index in map.delayed:
            return
        if self._admitted(map, index, map.item_upstreams.get(index, ())):
            self.make_ready(map, index, index + 1)

    def _admitted(self, map: MapRun, index: int, upstreams: Sequence[Upstream], at: int | None = None) -> bool:
        if map in self.cancelling:
            why = causes.of_cancel(self.cancelled_by)
            self.end_items(map, (index,), states.CANCELLED, "cancelled", reason=why)
            return False
        problem = triggers.refusal(upstreams, map.options.trigger, at=at)
        if problem is None:
            released = triggers.released(upstreams, at)
            if released is None:
                return True
            info = ErrorInfo("ResultReleased", str(released), "", exception=released)
            self.end_items(map, (index,), states.FAILED, str(released), info, reasons.make("arguments"))
            return False
        map.causes[index] = triggers.culprits(upstreams, at)
        why = causes.of_refusal(map, upstreams, at)
        self.end_items(map, (index,), states.TRIGGER_FAILED, problem, reason=why)
        return False

    def in_flight(self, map: MapRun, lo: int, hi: int) -> set[int]:
        """Items of [lo, hi) that are in a chunk now."""
        found: set[int] = set()
        for chunk_id in map.running:
            sent = self.sent[chunk_id]
            for stage_map, items in zip(sent.maps, sent.items, strict=True):
                if stage_map is not map:
                    continue
                first, rest = sent.reported, items[sent.reported :]
                if isinstance(rest, range) and rest.step == 1:  # asked at each report: only what overlaps is looked at
                    first += max(lo - rest.start, 0)
                    rest = range(max(lo, rest.start), min(hi, rest.stop))
                found.update(i for p, i in enumerate(rest, first) if lo <= i < hi and p not in sent.taken)
        return found

    # -- ending ----------------------------------------------------------------------------------

    def end_items(
        self,
        map: MapRun,
        items: Sequence[int],
        code: int,
        message: str = "",
        error: ErrorInfo | None = None,
        reason: Reason | None = None,
    ) -> None:
        """Give items that are not yet terminal a final state decided in the driver, and tell the rest.

        State handlers are asked first: until they have answered, the item is held as if delayed. A
        cancel stands, they are only told of it.
        """
        ended = [i for i in items if not map.is_terminal(i)]
        if not ended:
            self.check_finished(map)
            return
        self.spell_out(map)
        if map.options.state_handlers and code != states.CANCELLED:
            remove_from(map.ready, set(ended))
            for index in ended:
                map.delayed[index] = (math.inf, map.codes[index])
                self.out.append(Judge(map, index, code, message, error, reason))
            return
        self._end(map, ended, code, message, error, reason=reason)

    def judged(self, asked: Judge, found: Verdict) -> None:
        """The handlers have seen the end of an item, and may have put another state in its place."""
        map, index = asked.map, asked.index
        if map.is_terminal(index):  # cancelled meanwhile
            return
        del map.delayed[index]
        if found.code == states.AWAITING_RETRY:
            self.rows.append(self.item_row(map, index, found.code, found.message, found.error))
            map.next_attempt(index, excused=asked.code == states.CRASHED)
            self.delay(map, index, found.delay, found.code)
            return
        if found.name:
            map.state_names[index] = found.name
        if states.is_success(found.code) and map.keep:
            self.own_value(map, index, found.value)
        reason = asked.reason if found.code == asked.code else None
        self._end(map, [index], found.code, found.message, found.error, found.value, reason)

    def own_value(self, map: MapRun, index: int, value: Any) -> None:
        """A value that was made in the driver."""
        block = ValueBlock(Handle(-self.new_chunk_id(), 0, 0), map.lane, [index], Inline([value], 64), 64)
        map.add_block(block, overlay=True)
        self.ledger.added(map, block)

    def _end(
        self, map: MapRun, ended: list[int], code: int, message: str, error: ErrorInfo | None, value: Any = None,
        reason: Reason | None = None,
    ) -> None:  # fmt: skip
        many = code == states.CANCELLED and len(ended) > FEW and error is None
        for index in ended:
            map.codes[index] = code
            map.delayed.pop(index, None)
            if message:
                map.messages[index] = message
            if error is not None:
                map.errors[index] = error
            if not many or index in map.attempts or index == ended[0]:  # the first one's row has the reason of all
                self.rows.append(self.item_row(map, index, code, message, error, reason))
        if many:
            self.rows += cancelled_rows(map, [i for i in ended if i not in map.attempts], self.wall)
        map.done += len(ended)
        remove_from(map.ready, set(ended))
        self.give_up_children(map, ended)
        if _has_hooks(map, code):
            self.out.extend(RunHooks(map, i, code, message, value, given_to(map, i)) for i in ended)
        self.ended(map, ended)
        # An attempt that is to be done again has a place in its block, which nobody will look for now.
        self.ledger.settle(map, min(ended), max(ended) + 1)

    def give_up_children(self, map: MapRun, items: Sequence[int]) -> None:
        """What these runs had submitted: their futures went with them, so nobody can ask for it any more."""
        if not self.nested:
            return
        found = [child for i in items for child in self.nested.get(f"{map.id}/{i}", ()) if not child.finished]
        if found:
            self.cancel_together(found, "parent")

    def item_row(
        self, map: MapRun, index: int, code: int, message: str, error: ErrorInfo | None, reason: Reason | None = None
    ) -> ItemRow:
        name = map.state_names.get(index) or states.NAMES[code][0]
        why = reason or causes.of_end(map, index, code, error)
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
            why.word,
            why.details,
        )

    def ended(self, map: MapRun, items: Sequence[int], reading: Sequence[int] | None = None) -> None:
        """Items are terminal now: free what they (or only `reading`) read, wake and admit who waited for them."""
        if map.followers:
            self.spell_out(map, items)
        if map.feeds or map.item_upstreams:
            self._inputs_read(map, items if reading is None else reading)
        for consumer in dict.fromkeys(map.map_consumers) if map.map_consumers else ():
            if isinstance(items, range):
                self.admit_range(consumer, items[0], items[-1] + 1)
            else:
                for index in items:
                    self.admit_range(consumer, index, index + 1)
        if map.item_consumers:
            for index in common(items, map.item_consumers):
                for consumer, which in map.item_consumers.pop(index, ()):
                    self._upstream_ended(consumer, which)
        if map.waiters:
            for key in common(items, map.waiters):
                self.wake.extend(map.waiters.pop(key, ()))
        for call in map.subscribers:
            call(map, items)
        self._forget_arguments(map, items)
        if map.source is not None:
            self.pull(map)
        self.check_finished(map)

    def links_ended(self, map: MapRun, links: Sequence[Sequence[int]], ended: Sequence[int]) -> None:
        """As `ended`, of links that travelled together: behind the first, each waited for and read the one before.

        Args:
            links: the items of each stage.
            ended: all of them, stage by stage.
        """
        recipes = self.recipe_needed(map)
        followers, consumers = map.followers, map.item_consumers
        for index, reader in zip(ended, ended[len(links[0]) :], strict=False):
            if recipes:
                map.recipes[reader] = (Upstream(map, index),)
                map.args[reader] = PIPE
            if followers.pop(index, None) is None:  # it had been spelled out
                self.ledger.link_read(map, index)
                map.item_upstreams.pop(reader, None)
                map.blocked_items.pop(reader, None)
            if consumers:
                for consumer, which in consumers.pop(index, ()):
                    if which != reader or consumer is not map:  # it came after these had been sent
                        self._upstream_ended(consumer, which)
        self.ended(map, ended, links[0])

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
            recipes = self.recipe_needed(map)
            for index in items:
                ups = map.item_upstreams.pop(index, ())
                if ups and recipes:
                    map.recipes[index] = ups
                for up in ups:
                    if (up.allow_failure or map.options.trigger is not None) and states.is_success(map.codes[index]):
                        self.handled_by_consumer(up, None)
                    if up.value:
                        self.let_go(up)
                map.blocked_items.pop(index, None)

    def handled_by_consumer(self, up: Upstream, at: int | None) -> None:
        """A consumer that was admitted in spite of failures has completed: they are handled."""
        for failed, index in triggers.culprits((up,), at):
            failed.handle(index)

    def _forget_arguments(self, map: MapRun, items: Sequence[int]) -> None:
        if map.args:
            for index in common(items, map.args):
                map.args.pop(index, None)

    def recipe_needed(self, map: MapRun) -> bool:
        """Whether arguments must outlive their item, to make a lost value again."""
        lane = self.lanes[map.lane].capabilities
        if lane.values != "held" or lane.values_survive_workers:
            return False
        return map.keep or any(self.recipe_needed(m) for m in map.map_consumers)

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
        if map.sent or not map.finished:
            return
        if map.list_consumers:
            consumers, map.list_consumers = map.list_consumers, []
            for consumer, index in consumers:
                self._upstream_ended(consumer, -1 if index is None else index)
        if map.waiters:
            for key in [i for i in map.waiters if i is None or i >= len(map.codes)]:
                self.wake.extend(map.waiters.pop(key))
        if map.kind == "map" and map.ended_at is None:
            map.ended_at = map.ended_by(self.now)
            counts = states.Counts(map.codes).as_dict()
            self.rows.append(map_row(map, len(map.codes), map.ended_at, counts))

    # -- time ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has come to `now` (monotonic seconds): delayed items become ready."""
        self.now = now
        if self.short.due:
            for map, at in self.short.over(now):
                self._capacity_over(map, at)
        while self.timers and self.timers[0][0] <= now:
            _, _, map, index = heapq.heappop(self.timers)
            if index in map.delayed and map.delayed[index][0] <= now:
                del map.delayed[index]
                map.codes[index] = states.PENDING
                # It may have travelled behind a producer whose value was lost with it: then that comes first.
                if index not in map.blocked_items and self.with_inputs(map, [index]):
                    self.make_ready(map, index, index + 1)

    def delay(self, map: MapRun, index: int, seconds: float, code: int) -> None:
        """The item comes back after `seconds`, holding nothing meanwhile."""
        due = self.now + seconds
        map.codes[index] = code
        map.delayed[index] = (due, code)
        heapq.heappush(self.timers, (due, next(self._tick), map, index))

    def next_due(self) -> float | None:
        due = self.short.next_due() if self.short.due else None
        if not self.timers:
            return due
        return self.timers[0][0] if due is None else min(due, self.timers[0][0])

    def gate_opened(self, map: MapRun) -> None:
        raise NotImplementedError


def _has_hooks(map: MapRun, code: int) -> bool:
    options = map.options
    if options.state_handlers and code == states.CANCELLED:
        return True
    kind = states.NAMES[code][1]
    by_kind = {
        states.StateType.FAILED: options.on_failure,
        states.StateType.CRASHED: options.on_crashed,
        states.StateType.CANCELLED: options.on_cancellation,
        states.StateType.COMPLETED: options.on_completion,
    }
    return bool(by_kind.get(kind))
