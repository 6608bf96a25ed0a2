"""The readers of values: the memory contract, as counting.

A value may go when it cannot be read any more::

    the list is not held      list_refs == 0 and no open consumer of the whole list
    no consumer is unfinished unfinished[index] == 0
    no future names it        index not in future_refs

The counts are those of `core.maps.Consumers`.

This is the pure part: it decides which blocks may be dropped; the pump tells the runner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.reports import Held, Inline, Packed
from anabranch.core.states import FIRST_ENDED
from anabranch.core.value_index import RELEASED
from anabranch.engine.memory import SMALLEST, Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun, Upstream
    from anabranch.core.value_index import ValueBlock

THIN = 8  # a block is nearly dead when less than one part in so many lives
_PLUS = bytes(min(i + 1, 255) for i in range(256))
_MINUS = bytes(max(i - 1, 0) for i in range(256))


class Ledger:
    """Counts readers and bytes; `freed` collects blocks without readers, `thin` nearly dead ones."""

    __slots__ = ("bytes_held", "bytes_packed", "freed", "memory", "thin")

    def __init__(self) -> None:
        self.freed: list[ValueBlock] = []
        self.thin: list[tuple[MapRun, ValueBlock, list[int]]] = []  # nearly dead blocks, each with its living items
        self.bytes_held = 0
        self.bytes_packed = 0  # of these, bytes pickled in the driver
        self.memory = Memory()

    # -- readers come ----------------------------------------------------------------------------

    def add_map_consumer(self, upstream: MapRun) -> None:
        """Register a map that reads every item of `upstream`, each until its own item has ended."""
        self._ensure(upstream)
        assert upstream.consumers.unfinished is not None
        upstream.consumers.unfinished = bytearray(upstream.consumers.unfinished.translate(_PLUS))

    def add_item_reader(self, upstream: MapRun, index: int) -> None:
        readers = upstream.consumers.unfinished
        if readers is None or index >= len(readers):
            self._ensure(upstream, index + 1)
            assert upstream.consumers.unfinished is not None
            readers = upstream.consumers.unfinished
        if readers[index] < 255:
            readers[index] += 1

    def _ensure(self, map: MapRun, length: int = 0) -> None:
        base = len(map.consumers.maps)
        length = max(length, len(map.codes))
        if map.consumers.unfinished is None:
            map.consumers.unfinished = bytearray(length)
        elif len(map.consumers.unfinished) < length:
            map.consumers.unfinished.extend(bytes([base]) * (length - len(map.consumers.unfinished)))

    def grow(self, map: MapRun) -> None:
        """Give new items of a map the item-wise readers that the map already has."""
        readers = map.consumers.unfinished
        if readers is None:
            return
        if len(readers) == len(map.codes) - 1:
            readers.append(min(len(map.consumers.maps), 255))
        elif len(readers) < len(map.codes):
            self._ensure(map)

    def hold(self, up: Upstream) -> None:
        """Hold a value for a single run, or a whole map, that will read it."""
        up.map.consumers.read_singly = True
        if up.item is None:
            up.map.consumers.unfinished_lists += 1
        else:
            self.add_item_reader(up.map, up.item)

    # -- readers go ------------------------------------------------------------------------------

    def let_go(self, up: Upstream) -> None:
        """Release a value that was held for a run that has ended."""
        if up.item is None:
            up.map.consumers.unfinished_lists -= 1
            self.list_gone(up.map)
        else:
            self.items_read(up.map, up.item, up.item + 1)

    def items_read(self, upstream: MapRun, lo: int, hi: int) -> None:
        """Note that an item-wise consumer has finished with [lo, hi)."""
        if upstream.consumers.unfinished is None:
            return
        if hi - lo == 1:
            if upstream.consumers.unfinished[lo]:
                upstream.consumers.unfinished[lo] -= 1
            if upstream.codes[lo] < FIRST_ENDED:  # read on its worker: the report of its producer comes next
                return
        else:
            upstream.consumers.unfinished[lo:hi] = upstream.consumers.unfinished[lo:hi].translate(_MINUS)
        self.settle(upstream, lo, hi)

    def link_read(self, map: MapRun, index: int) -> None:
        """Note that a value was read by its one reader, on the worker where it was made."""
        if map.consumers.unfinished is not None and map.consumers.unfinished[index]:
            map.consumers.unfinished[index] -= 1

    def item_handle_gone(self, map: MapRun, index: int) -> None:
        left = map.consumers.future_refs.get(index, 0) - 1
        if left > 0:
            map.consumers.future_refs[index] = left
            return
        map.consumers.future_refs.pop(index, None)
        if map.is_terminal(index):  # else there is no value yet; taking it in checks its readers
            self.settle(map, index, index + 1)

    def list_gone(self, map: MapRun) -> None:
        """Note that the future list, or a consumer of the whole list, is gone."""
        if map.consumers.list_refs <= 0 and map.consumers.unfinished_lists <= 0:
            self.settle(map, 0, len(map.codes))

    # -- what may be dropped ---------------------------------------------------------------------

    def wanted(self, map: MapRun, lo: int, hi: int) -> bool:
        """Return whether any of [lo, hi) may still be read."""
        if self._consumed(map, lo, hi):
            return True
        if hi - lo < len(map.consumers.future_refs):
            return any(i in map.consumers.future_refs for i in range(lo, hi))
        return any(lo <= i < hi for i in map.consumers.future_refs)

    def _consumed(self, map: MapRun, lo: int, hi: int) -> bool:
        """Return whether the list, or an unfinished consumer of it, may read any of [lo, hi)."""
        if map.consumers.list_refs > 0 or map.consumers.unfinished_lists > 0:
            return True
        return map.consumers.unfinished is not None and map.consumers.unfinished.count(0, lo, hi) < hi - lo

    def wanted_item(self, map: MapRun, index: int) -> bool:
        if index in map.consumers.future_refs or map.consumers.list_refs > 0 or map.consumers.unfinished_lists > 0:
            return True
        readers = map.consumers.unfinished
        return readers is not None and (index >= len(readers) or readers[index] > 0)

    def added(self, map: MapRun, block: ValueBlock, *, here: bool = False) -> None:
        """Add a block; `here`: it lies in this machine's memory, and may have to leave it."""
        self.bytes_held += block.nbytes
        footprint = map.footprint
        footprint.held += block.nbytes
        if footprint.held > footprint.most:
            footprint.most = footprint.held
        if isinstance(block.content, Packed):
            self.bytes_packed += block.nbytes
        elif here:
            block.movable = True
            self.memory.add(map, block)

    def spilled(self, map: MapRun, block: ValueBlock, content: Held) -> bool:
        """Note that a block lies on disk now; False when it was dropped meanwhile."""
        if not self.memory.left(block):
            return False
        block.content = content
        map.footprint.spilled += block.nbytes
        return True

    def settle(self, map: MapRun, lo: int, hi: int) -> None:
        """Drop the values without readers in [lo, hi)."""
        if not map.values.blocks and not map.values.moved:
            return
        if map.consumers.list_refs > 0 or map.consumers.unfinished_lists > 0:
            return
        for block in self._blocks_at(map, lo, hi):
            if not self.read_here(map, block):
                self.drop(map, block)
            elif block.held:
                self._look_thin(map, block, 1 if hi - lo == 1 else block.count)
            elif block.item_list is None and isinstance(block.content, Inline):
                for index in range(max(lo, block.first), min(hi, block.first + block.count)):
                    if not self.wanted_item(map, index):
                        block.content.values[index - block.first] = RELEASED
                        map.values.gaps = True

    def _look_thin(self, map: MapRun, block: ValueBlock, gone: int) -> None:
        """Note a nearly dead block, because a block counts whole as long as one value of it lives."""
        block.live -= gone
        if block.live * THIN >= block.count or block.nbytes < SMALLEST or not block.movable:
            return
        living = [i for i in block.indices() if map.values.block_of(i) is block and self.wanted_item(map, i)]
        block.live = len(living)  # checked again only when more of it is gone
        if block.live * THIN < block.count and not self.being_read(map, living):
            block.movable = False
            self.thin.append((map, block, living))

    def being_read(self, map: MapRun, items: Sequence[int]) -> bool:
        """Return whether consumers read these items, perhaps right now from this block: they finish soon."""
        if map.consumers.unfinished_lists > 0:
            return True
        return map.consumers.unfinished is not None and any(map.consumers.unfinished[i] for i in items)

    def _blocks_at(self, map: MapRun, lo: int, hi: int) -> Sequence[ValueBlock]:
        if hi - lo == 1 and not map.values.layered:
            found = map.values.block_of(lo)
            return () if found is None else (found,)
        return (*map.values.blocks_between(lo, hi), *map.values.moved_blocks(lo, hi))

    def give_up(self, map: MapRun, lo: int, hi: int) -> None:
        """End the list's claim on [lo, hi), which a stream has given to its reader."""
        held, map.consumers.list_refs = map.consumers.list_refs, 0
        try:
            for block in (*map.values.blocks_between(lo, hi), *map.values.moved_blocks(lo, hi)):
                given = self._given(map, block, lo, hi)
                block.live -= len(given)
                if block.live <= 0 and not self._wanted_of(map, block.indices()):
                    self.drop(map, block)
                elif isinstance(block.content, Inline):
                    self._let_go(map, block, block.content, given)
        finally:
            map.consumers.list_refs = held

    def _given(self, map: MapRun, block: ValueBlock, lo: int, hi: int) -> Sequence[int]:
        """Return the items of [lo, hi) whose values lie in this block; as a range where no block lies over another."""
        if block.item_list is None and not map.values.layered and not map.values.moved:
            return range(max(lo, block.first), min(hi, block.first + block.count))
        span = range(max(lo, block.first), hi) if block.item_list is None else block.item_list
        return [i for i in span if lo <= i < hi and map.values.block_of(i) is block]

    def _wanted_of(self, map: MapRun, items: Sequence[int]) -> bool:
        """Return whether any of these items may still be read."""
        if isinstance(items, range):
            return self.wanted(map, items.start, items.stop)
        return any(self.wanted_item(map, i) for i in items)

    def _let_go(self, map: MapRun, block: ValueBlock, content: Inline, given: Sequence[int]) -> None:
        """Drop the values of given items out of a block that lives on."""
        if isinstance(given, range) and given and not self._wanted_of(map, given):
            content.values[given.start - block.first : given.stop - block.first] = [RELEASED] * len(given)
            map.values.gaps = True
            return
        for index in given:
            if not self.wanted_item(map, index):
                content.values[block.slot(index)] = RELEASED
                map.values.gaps = True

    def read_here(self, map: MapRun, block: ValueBlock) -> bool:
        """Return whether an item may still be read from this block, and not from a block over it.

        Each release in a nearly empty block asks this, so the slot that gave the answer last time is tried first.
        """
        if block.count == 1:
            return self.wanted_item(map, block.first) and map.values.block_of(block.first) is block
        if block.item_list is None and not map.values.layered:
            lo, hi = block.first, block.first + block.count
            if self._consumed(map, lo, hi):
                return True
            if len(map.consumers.future_refs) <= block.count:
                return any(lo <= i < hi for i in map.consumers.future_refs)
        items = block.indices()
        for slots in range(block.seen, block.count), range(block.seen):
            for slot in slots:
                index = items[slot]
                if self.wanted_item(map, index) and map.values.block_of(index) is block:
                    block.seen = slot
                    return True
        return False

    def lost(self, map: MapRun, block: ValueBlock) -> None:
        """Remove a block that was lost with its worker."""
        self._strike(map, block)
        block.content = None

    def drop(self, map: MapRun, block: ValueBlock) -> None:
        """Drop a block, and note it for its runner."""
        self._strike(map, block)
        map.values.gaps = True
        map.footprint.released += block.nbytes
        if isinstance(block.content, Held):
            self.freed.append(block)
        block.content = None

    def _strike(self, map: MapRun, block: ValueBlock) -> None:
        map.values.forget(block)
        map.footprint.held -= block.nbytes
        self.bytes_held -= block.nbytes
        self.memory.remove(map, block)
        if isinstance(block.content, Packed):
            self.bytes_packed -= block.nbytes

    def take_freed(self) -> list[ValueBlock]:
        freed, self.freed = self.freed, []
        return freed
