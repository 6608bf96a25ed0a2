"""Readiness, ends and cancelling: the heart of the dispatcher; see `dispatch.py`.

all inputs of an item have ended --> ready --> sent --> ended --> its readers --> ready ...
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from anabranch.core import reasons, states
from anabranch.core.counts import Counts
from anabranch.core.instructions import AskHandlers, Resolve, RunHooks
from anabranch.core.maps import Upstream
from anabranch.core.reports import ErrorInfo
from anabranch.engine import adopting, causes, triggers
from anabranch.engine.cancelling import Cancelling
from anabranch.engine.fusing import PIPE, materialize
from anabranch.engine.hooks import any_for
from anabranch.engine.known_inputs import given_to
from anabranch.engine.ranges import common, in_ranges, remove_from, runs_of, unfinished
from anabranch.engine.rows import cancelled_rows, item_row, map_row
from anabranch.engine.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from anabranch.core.instructions import Verdict
    from anabranch.core.maps import MapRun
    from anabranch.core.reasons import Reason
    from anabranch.engine.recipes import Recipes
    from anabranch.engine.tables import Tables
    from anabranch.engine.timers import Timers
    from anabranch.engine.values import Values
    from anabranch.engine.windows import Windows

FEW = 16  # items; so many that are cancelled together get a row each, more get columns


class Board:
    """Items become ready, end, and are cancelled. Each end admits waiting items, so the three belong together.

    Attributes:
        turned_away: by a map's id, the end of all its items, also of those still to come.
    """

    def __init__(self, tables: Tables, timers: Timers, windows: Windows, values: Values, recipes: Recipes) -> None:
        self.tables = tables
        self.ledger = tables.ledger
        self.timers = timers
        self.windows = windows
        self.values = values
        self.recipes = recipes
        self.upstreams = Upstreams(tables, windows, recipes)
        self.cancelling = Cancelling(tables, self)
        self.turned_away: dict[str, tuple[int, str, Reason]] = {}

    # -- becoming ready --------------------------------------------------------------------------

    def make_ready(self, map: MapRun, lo: int, hi: int, *, exact: bool = False, front: bool = False) -> None:
        """Make items [lo, hi) ready to be sent, except those that an earlier driver has completed.

        Args:
            exact: send them as one chunk of just these.
            front: send them before the ready ones.
        """
        if hi <= lo:
            return
        if map.resume.previous is None:
            self._put_in_line(map, lo, hi, exact, front)
            return
        for start, stop, kept in adopting.split(map, lo, hi):
            if kept:
                self.tables.rows += adopting.take_over(map, start, stop)
                self.ended(map, range(start, stop))
            else:
                adopting.count_on(map, start, stop)
                self._put_in_line(map, start, stop, exact, front)
                if map.resume.interrupted and self.tables.walltime is not None:
                    for index, end in self.tables.walltime.refused(map, start, stop):
                        self.end_items(map, (index,), states.FAILED, *end)

    def _put_in_line(self, map: MapRun, lo: int, hi: int, exact: bool, front: bool) -> None:
        ready = map.queue.ready
        last = ready[-1] if ready else None
        if last is not None and last[1] == lo and not exact and not last[2] and not front:
            ready[-1] = (last[0], hi, False)
        elif front:
            ready.appendleft((lo, hi, exact))
        else:
            ready.append((lo, hi, exact))
        self.tables.enqueue(map)

    def admit_range(self, map: MapRun, lo: int, hi: int) -> None:
        """Admit items [lo, hi) of an item-wise map, after some or all of their upstream items have ended."""
        hi = min(hi, len(map.codes))
        if self.turned_away and map.id in self.turned_away:
            self.end_as_all(map, lo, hi)
            return
        if lo >= hi or map.inputs.gate or not map.inputs.constants_ready:
            return
        if len(map.inputs.feeds) == 1 and map.options.trigger is None:
            feed = map.inputs.feeds[0].map
            there = not feed.values.gaps or (feed.values.resumable and feed.values.stored.covers(lo, hi))
            whole = there and feed.codes[lo:hi].count(states.COMPLETED) == hi - lo
            if whole and not any(map.codes[lo:hi]):
                if map.queue.delayed or map.queue.sent or map.queue.ready:
                    self._admit_each(map, lo, hi)
                else:
                    self.make_ready(map, lo, hi)
                return
        self._admit_each(map, lo, hi)

    def _admit_each(self, map: MapRun, lo: int, hi: int) -> None:
        queue, flying = map.queue, self.tables.in_flight
        known = in_ranges(queue.ready, lo, hi) | flying(map, lo, hi) if queue.sent or queue.ready else set()
        start = lo
        for index in range(lo, hi):
            ended = all(u.map.is_terminal(index) for u in map.inputs.feeds)
            fresh = not map.is_terminal(index) and index not in map.queue.delayed and index not in known
            if ended and fresh and self._admitted(map, index, map.inputs.feeds, at=index):
                continue
            self.make_ready(map, start, index)
            start = index + 1
        self.make_ready(map, start, hi)

    def admit_item(self, map: MapRun, index: int) -> None:
        """Admit a single item, after all its upstreams have ended."""
        if map.is_terminal(index) or index in map.queue.delayed:
            return
        if self._admitted(map, index, map.inputs.upstreams.get(index, ())):
            self.make_ready(map, index, index + 1)

    def _admitted(self, map: MapRun, index: int, upstreams: Sequence[Upstream], at: int | None = None) -> bool:
        if map in self.cancelling.maps:
            self.end_items(map, (index,), states.CANCELLED, "cancelled", reason=causes.of_cancel(self.cancelling.by))
            return False
        problem = triggers.refusal(upstreams, map.options.trigger, at=at)
        if problem is None:
            released = triggers.released(upstreams, at)
            if released is None:
                return True
            info = ErrorInfo("ResultReleased", str(released), "", exception=released)
            self.end_items(map, (index,), states.FAILED, str(released), info, reasons.make("arguments"))
            return False
        map.inputs.causes[index] = triggers.culprits(upstreams, at)
        why = causes.of_refusal(map, upstreams, at)
        self.end_items(map, (index,), states.TRIGGER_FAILED, problem, reason=why)
        return False

    def come_back(self, map: MapRun, index: int) -> None:
        """Make a delayed item ready at its time."""
        # If it travelled behind a producer and the producer's value was lost with it, the producer runs first.
        if index not in map.inputs.blocked and self.upstreams.with_inputs(map, [index]):
            self.make_ready(map, index, index + 1)

    # -- whole maps ------------------------------------------------------------------------------

    def grow(self, map: MapRun, length: int) -> None:
        if length > len(map.codes):
            map.codes.extend(bytes(length - len(map.codes)))
            self.ledger.grow(map)
        for consumer in map.consumers.maps:
            self.grow(consumer, min(len(u.map.codes) for u in consumer.inputs.feeds))

    def gate_opened(self, map: MapRun) -> None:
        """Start a map after all its gates have ended: read its constants, or turn it away."""
        gates = map.inputs.upstreams.get(-1, ())
        problem = triggers.refusal(gates, map.options.trigger) if gates else None  # no gates: asked per item
        if problem is not None:
            why = causes.of_refusal(map, gates)
            self.gates_read(map)
            self.turn_away(map, states.TRIGGER_FAILED, problem, why)
            return
        if not map.inputs.constants_ready:
            self.tables.out.append(Resolve(map))
            return
        self.gates_read(map)
        self.start_items(map)

    def gates_read(self, map: MapRun) -> None:
        for up in map.inputs.upstreams.pop(-1, ()):
            if up.value:
                self.ledger.let_go(up)

    def turn_away(self, map: MapRun, code: int, message: str, why: Reason) -> None:
        """End all items of a map without running them, also those that its iterator or its feeds still bring."""
        if not map.closed:
            self.turned_away[map.id] = (code, message, why)
        self.end_items(map, range(len(map.codes)), code, message, reason=why)

    def start_items(self, map: MapRun) -> None:
        if map.inputs.feeds:
            for feed in map.inputs.feeds[:1]:
                self.admit_range(map, 0, min(len(map.codes), len(feed.map.codes)))
        elif map.inputs.source is not None and map.inputs.source.random_access:
            # Some items may have been cancelled while the map was waiting.
            for lo, hi in [(0, len(map.codes))] if not any(map.codes) else unfinished(map.codes):
                self.make_ready(map, lo, hi)
            self.check_finished(map)
        elif map.inputs.source is not None:
            self.tables.enqueue(map)  # a waiter may have had some of it pulled before it could begin
            self.windows.pull(map)
        elif map.kind == "map":
            self.check_finished(map)

    def end_as_all(self, map: MapRun, lo: int, hi: int) -> None:
        code, message, why = self.turned_away[map.id]
        self.end_items(map, range(lo, hi), code, message, reason=why)

    def close_map(self, map: MapRun) -> None:
        """Close a map: no more items come."""
        map.closed = True
        for consumer in map.consumers.maps:
            if not consumer.closed and all(u.map.closed for u in consumer.inputs.feeds):
                self.close_map(consumer)
        self.check_finished(map)

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
        """Give items that are not terminal a final state decided in the driver, and do everything that follows.

        State handlers are asked first: until they have answered, the item is held as if delayed. A cancel is final:
        handlers are called for it and cannot replace it.
        """
        previous = map.resume.previous
        if previous is not None and previous.attempts:  # an end without an attempt continues the numbers too
            for lo, hi in runs_of(items):
                adopting.count_on(map, lo, hi)
        ended = [i for i in items if not map.is_terminal(i)]
        if not ended:
            self.check_finished(map)
            return
        materialize(self.ledger, map)
        if map.options.state_handlers and code != states.CANCELLED:
            remove_from(map.queue.ready, set(ended))
            for index in ended:
                map.queue.delayed[index] = (math.inf, map.codes[index])
                self.tables.out.append(AskHandlers(map, index, code, message, error, reason))
            return
        self._end(map, ended, code, message, error, reason=reason)

    def handlers_answered(self, asked: AskHandlers, found: Verdict) -> None:
        """Take in the handlers' answer about the end of an item, perhaps another state."""
        map, index = asked.map, asked.index
        if map.is_terminal(index):  # cancelled meanwhile
            return
        del map.queue.delayed[index]
        if found.code == states.AWAITING_RETRY:
            self.tables.rows.append(item_row(self.tables.wall, map, index, found.code, found.message, found.error))
            map.next_attempt(index, uncounted=asked.code == states.CRASHED)
            self.timers.delay(map, index, found.delay, found.code)
            return
        if found.name:
            map.state_names[index] = found.name
        if states.is_success(found.code) and map.keep:
            self.values.own(map, index, found.value)
        reason = asked.reason if found.code == asked.code else None
        self._end(map, [index], found.code, found.message, found.error, found.value, reason)

    def _end(
        self, map: MapRun, ended: list[int], code: int, message: str, error: ErrorInfo | None, value: Any = None,
        reason: Reason | None = None,
    ) -> None:  # fmt: skip
        many = code == states.CANCELLED and len(ended) > FEW and error is None
        for index in ended:
            map.codes[index] = code
            map.queue.delayed.pop(index, None)
            if message:
                map.messages[index] = message
            if error is not None:
                map.errors[index] = error
            if not many or index in map.attempts or index == ended[0]:  # the first item's row has the reason of all
                self.tables.rows.append(item_row(self.tables.wall, map, index, code, message, error, reason))
        if many:
            self.tables.rows += cancelled_rows(map, [i for i in ended if i not in map.attempts], self.tables.wall)
        map.done += len(ended)
        remove_from(map.queue.ready, set(ended))
        self.cancelling.cancel_children(map, ended)
        if any_for(map.options, code):
            self.tables.out.extend(RunHooks(map, i, code, message, value, given_to(map, i)) for i in ended)
        self.ended(map, ended)
        # An attempt that would have been repeated has a slot in its block, which will not be read now.
        self.ledger.settle(map, min(ended), max(ended) + 1)

    def ended(self, map: MapRun, items: Sequence[int], reading: Sequence[int] | None = None) -> None:
        """Handle items that are terminal now: free the inputs of all (or of `reading`), wake waiters, admit readers."""
        if map.consumers.followers:
            materialize(self.ledger, map, items)
        if map.inputs.feeds or map.inputs.upstreams:
            self.upstreams.read(map, items if reading is None else reading)
        for consumer in dict.fromkeys(map.consumers.maps) if map.consumers.maps else ():
            if isinstance(items, range):
                self.admit_range(consumer, items[0], items[-1] + 1)
            else:
                for index in items:
                    self.admit_range(consumer, index, index + 1)
        if map.consumers.items:
            for index in common(items, map.consumers.items):
                for consumer, which in map.consumers.items.pop(index, ()):
                    self._upstream_ended(consumer, which)
        if map.consumers.waiters:
            for key in common(items, map.consumers.waiters):
                self.tables.wake.extend(map.consumers.waiters.pop(key, ()))
        for call in map.consumers.subscribers:
            call(map, items)
        self.recipes.items_ended(map, items)
        if map.inputs.source is not None:
            self.windows.pull(map)
        self.check_finished(map)

    def links_ended(self, map: MapRun, links: Sequence[Sequence[int]], ended: Sequence[int]) -> None:
        """Do as `ended`, for links that travelled together: each but the first has waited for and read the one before.

        Args:
            links: the items of each stage.
            ended: all of them, stage by stage.
        """
        recipes = self.recipes.needed(map)
        followers, consumers = map.consumers.followers, map.consumers.items
        for index, reader in zip(ended, ended[len(links[0]) :], strict=False):
            if recipes:
                map.inputs.recipes[reader] = (Upstream(map, index),)
                map.inputs.args[reader] = PIPE
            if followers.pop(index, None) is None:  # the chain was written out into the tables
                self.ledger.link_read(map, index)
                map.inputs.upstreams.pop(reader, None)
                map.inputs.blocked.pop(reader, None)
            if consumers:
                for consumer, which in consumers.pop(index, ()):
                    if which != reader or consumer is not map:  # a consumer that came after these had been sent
                        self._upstream_ended(consumer, which)
        self.ended(map, ended, links[0])

    def _upstream_ended(self, map: MapRun, index: int) -> None:
        if index < 0:
            map.inputs.gate -= 1
            if map.inputs.gate == 0:
                self.gate_opened(map)
            return
        left = map.inputs.blocked.get(index)
        if left is None:
            return
        if left > 1:
            map.inputs.blocked[index] = left - 1
            return
        del map.inputs.blocked[index]
        self.admit_item(map, index)

    def check_finished(self, map: MapRun) -> None:
        """Wake the waiters for the whole map once its last item has ended."""
        if map.queue.sent or not map.finished:
            return
        if map.consumers.lists:
            consumers, map.consumers.lists = map.consumers.lists, []
            for consumer, index in consumers:
                self._upstream_ended(consumer, -1 if index is None else index)
        if map.consumers.waiters:
            for key in [i for i in map.consumers.waiters if i is None or i >= len(map.codes)]:
                self.tables.wake.extend(map.consumers.waiters.pop(key))
        if map.kind == "map" and map.header.ended_at is None:
            map.header.ended_at = map.header.ended_by(self.tables.now)
            counts = Counts(map.codes).as_dict()
            self.tables.rows.append(map_row(map, len(map.codes), map.header.ended_at, counts))
