"""Who reads: tables of the dispatcher, and what handles, lists, streams and waiters ask of them."""

from __future__ import annotations

import itertools
import random
from array import array
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.contracts import Handle
from anabranch.core.events import Drop, Free, Move, Pull, Spill
from anabranch.core.maps import Upstream, ValueBlock
from anabranch.engine.assemble import PIPE
from anabranch.engine.capacity import Waiting
from anabranch.engine.chunks import Pace, window
from anabranch.engine.lanes import Lane
from anabranch.engine.ledger import Ledger
from anabranch.engine.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from anabranch.core.contracts import Capabilities, Held
    from anabranch.core.events import Instruction
    from anabranch.core.maps import MapRun
    from anabranch.core.reasons import Reason
    from anabranch.core.runs import Row
    from anabranch.engine.lanes import Sent


class Readers:
    """All maps of one program, and those who read their values or wait for them."""

    def __init__(self, *, rng: random.Random | None = None) -> None:
        self.out: list[Instruction] = []
        self.rows: list[Row] = []
        self.wake: list[Callable[[], None]] = []
        self.lanes: list[Lane] = []
        self.maps: dict[str, MapRun] = {}
        self.nested: dict[str, list[MapRun]] = {}  # by the id of the task run that submitted them
        self.sent: dict[int, Sent] = {}
        self.lost_chunks: dict[int, tuple[int, int]] = {}  # the last few, to tell late reports from repeated ones
        self.paces: dict[int, Pace] = {}  # by shared id of the task
        self.cancelling: set[MapRun] = set()  # while they are given up together
        self.halted: set[str] = set()  # flow runs of which nothing more is to begin
        self._when_halted: list[Callable[[], None]] = []
        self.cancelled_by = "user"  # by whom
        self.unsendable: dict[int, str] = {}  # shared values that cannot be pickled, and why
        self.spec_uses: dict[int, int] = {}  # by shared id of a task as it was sent: maps that may still run it
        self.outdated: set[int] = set()  # those of tasks that have changed since
        self.turned_away: dict[str, tuple[int, str, Reason]] = {}  # by map: how all its items end, also those to come
        self.ledger = Ledger()
        self.limits = Limits()
        self.short = Waiting()
        self.capacity_timeout = 300.0
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

    def new_ref(self) -> int:
        """A fresh id for a shared value."""
        return next(self._refs)

    def new_chunk_id(self) -> int:
        return next(self._chunk_ids)

    def pace(self, map: MapRun) -> Pace:
        found = self.paces.get(map.spec_ref)
        if found is None:
            found = self.paces[map.spec_ref] = Pace(self.lanes[map.lane].capabilities.chunk_seconds)
        return found

    # -- shared values ---------------------------------------------------------------------------

    def use_spec(self, ref: int) -> None:
        """A map is about to come that runs the task as this id has it."""
        self.spec_uses[ref] = self.spec_uses.get(ref, 0) + 1

    def renew_spec(self, lane: int, before: int, ref: int) -> None:
        """A task has changed: maps that come have it by another id, and the time that its items take is as known."""
        self.outdated.add(before)
        if before in self.paces:
            self.paces[ref] = self.paces[before]
        self._drop_spec(lane, before)

    def drop_shared(self, map: MapRun) -> None:
        """What workers know of a map that nobody needs any more."""
        refs = tuple(r for r in (map.stage_ref, map.pipe_ref, map.constants_ref) if r)
        if refs:
            self.out.append(Drop(map.lane, refs))
        if map.spec_ref in self.spec_uses:
            self.spec_uses[map.spec_ref] -= 1
            self._drop_spec(map.lane, map.spec_ref)

    def _drop_spec(self, lane: int, ref: int) -> None:
        if ref in self.outdated and not self.spec_uses.get(ref):
            self.outdated.discard(ref)
            for known in (self.spec_uses, self.paces, self.unsendable):
                known.pop(ref, None)
            self.out.append(Drop(lane, (ref,)))

    # -- readers ---------------------------------------------------------------------------------

    def handle_taken(self, map: MapRun, index: int) -> None:
        map.handles[index] = map.handles.get(index, 0) + 1

    def handles_taken(self, map: MapRun, items: Sequence[int]) -> None:
        if map.handles.keys().isdisjoint(items):
            map.handles.update(dict.fromkeys(items, 1))
            return
        for index in items:
            map.handles[index] = map.handles.get(index, 0) + 1

    def handle_gone(self, map: MapRun, index: int) -> None:
        self.ledger.item_handle_gone(map, index)

    def handles_gone(self, gone: Iterable[tuple[MapRun, int]]) -> None:
        """Futures that were let go, each of a run that is known."""
        for map, index in gone:
            if map.links:  # somebody took its value before it was let go, whose turn to tell of it is still to come
                self.append_links(map)
            if map.handles.get(index) == 1 and (map.list_handles > 0 or map.codes[index] < states.FIRST_TERMINAL):
                del map.handles[index]  # the list is held, or there is nothing yet: who takes it in looks who wants it
            else:
                self.handle_gone(map, index)

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

    def give_away(self, map: MapRun, lo: int, hi: int) -> None:
        """The stream has these values in hand: they are its own now."""
        self.ledger.give_up(map, lo, hi)

    def stream_advanced(self, map: MapRun, upto: int) -> None:
        """The stream's reader has come to item `upto`."""
        map.consumed = max(map.consumed, upto)
        self.pull(map)
        self.enqueue(map)

    def taken(self, map: MapRun, index: int) -> None:
        """A stream in order of completion has taken one item."""
        map.consumed += 1
        self.give_away(map, index, index + 1)
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


    def wait_for(self, map: MapRun, index: int | None, call: Callable[[], None], seal: bool = True) -> None:
        """Call `call` once the item (None: the whole map) is terminal; at once if it is.

        Who waits for all of a map wants it pulled to its end (`seal`); who only wants to be told does not.
        """
        if map.finished if index is None else map.is_terminal(index):
            self.wake.append(call)
            return
        if index is None:
            if seal:
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
        if map.done:
            ended = (i for i, code in enumerate(map.codes) if code >= states.FIRST_TERMINAL)
            call(map, range(len(map.codes)) if map.done == len(map.codes) else array("q", ended))
        map.subscribers.append(call)

    def pull(self, map: MapRun) -> None:
        """Ask for the next elements while fewer than a window of them are ahead."""
        if map.pulling or map.closed or map.cancelled or map.source is None or map.source.random_access:
            return
        if map.flow_run_id in self.halted:
            return
        lane = self.lanes[map.lane]
        room = window(lane.slots, self.pace(map), fixed=map.window)
        ahead = len(map.codes) - (map.consumed if map.stream is not None and not map.sealed else map.done)
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

    def spell_out(self, map: MapRun, items: Iterable[int] | None = None) -> None:
        """Write down what is to be known of links that follow these items (or any), before anything but their
        common way to a worker and back happens to them: until then `followers` is all there is of them."""
        if not map.followers:
            return
        for before in list(map.followers) if items is None else [i for i in items if i in map.followers]:
            index = map.followers.pop(before)
            up = Upstream(map, before)
            map.args[index] = PIPE
            map.item_upstreams[index] = (up,)
            map.blocked_items[index] = 1
            self.hold(up)
            map.item_consumers.setdefault(before, []).insert(0, (map, index))  # another one would have come later

    def hold(self, up: Upstream) -> None:
        up.map.read_singly = True
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

    # -- where values lie ------------------------------------------------------------------------

    def spilled(self, map: MapRun, block: ValueBlock, content: Held) -> None:
        """A block has been moved from memory to disk."""
        wanted = self.ledger.spilled(map, block, content)
        if not wanted and self.lanes[block.lane].capabilities.values != "held":  # others were told to free it
            self.out.append(Free(block.lane, [block.handle]))
        self._resume()

    def spill_failed(self, block: ValueBlock) -> None:
        """A block could not be moved to disk: it stays."""
        self.ledger.memory.stays(block)
        self._resume()

    def relieve(self) -> None:
        """What is to leave memory, and what little lives of nearly dead blocks."""
        if self.ledger.memory.over:
            self.out.extend(Spill(map, block) for map, block in self.ledger.memory.choose())
        if not self.ledger.thin:
            return
        thin, self.ledger.thin = self.ledger.thin, []
        for map, block, items in thin:
            if block.content is not None:
                self.out.append(Move(map, block, items, Handle(-self.new_chunk_id(), 0, 0)))

    def _resume(self) -> None:
        """Lanes may have been held up by the disk."""
        self.dirty_lanes.update(lane.index for lane in self.lanes if lane.runnable)

    def moved(self, map: MapRun, block: ValueBlock, items: list[int], to: Handle, content: Held) -> None:
        """What lived of a nearly dead block lies in one of its own now."""
        living = [i for i in items if map.block_of(i) is block]
        if block.content is None or not living or self.ledger.being_read(map, living):
            self.out.append(Free(block.lane, [to]))
            return
        new = ValueBlock(to, block.lane, items, content, content.nbytes)
        map.add_block(new, overlay=True, stale=set(items).difference(living))
        self.ledger.added(map, new, here=self.lanes[block.lane].capabilities.values == "held")
        self.ledger.drop(map, block)
        for index in living:
            self.ledger.settle(map, index, index + 1)

    # -- what the floors above do ----------------------------------------------------------------

    def append_links(self, map: MapRun) -> None:
        raise NotImplementedError

    def enqueue(self, map: MapRun) -> None:
        raise NotImplementedError

    def cancel_map(self, map: MapRun, *, unpulled_only: bool = False, by: str = "user") -> None:
        raise NotImplementedError

    def cancel_together(
        self, maps: Sequence[MapRun], by: str = "user", spared: Container[tuple[str, int]] = ()
    ) -> None:
        raise NotImplementedError
