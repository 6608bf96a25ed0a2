"""Blocks of values: they come with reports, leave memory, and shrink to their living part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import BlockHandle
from anabranch.core.instructions import Free, Move, Spill
from anabranch.core.reports import Inline
from anabranch.core.value_index import ValueBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun
    from anabranch.core.reports import Block, Held
    from anabranch.engine.lanes import Flight
    from anabranch.engine.tables import Tables


class Values:
    """Takes blocks in, moves them, and drops them as the ledger decides."""

    __slots__ = ("_ledger", "_tables")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._ledger = tables.ledger

    # -- blocks that come ------------------------------------------------------------------------

    def own(self, map: MapRun, index: int, value: Any) -> None:
        """Add a value that was made in the driver."""
        handle = BlockHandle(-self._tables.new_chunk_id(), 0, 0)
        block = ValueBlock(handle, map.sending.lane, [index], Inline([value], 64), 64)
        map.values.add(block, overlay=True)
        self._ledger.added(map, block)

    def take_in(self, sent: Flight, stage: int, map: MapRun, items: Sequence[int], first: int, content: Block) -> None:
        """Take in the block of a report: the values of these items, from position `first` of the chunk on."""
        assert content is not None
        handle = BlockHandle(sent.chunk.id, stage, first)
        block = ValueBlock(handle, sent.lane.index, items, content, content.nbytes)
        overlay = map.kind == "submit" or sent.chunk.attempts is not None or not isinstance(items, range)
        stale: set[int] = set()
        if sent.dirty:  # refused positions have no value here: another attempt has it, or will
            stale = {i for p, i in enumerate(items, first) if p in sent.taken or map.is_terminal(i)}
        overlay = overlay or map.values.block_of(items[0]) is not None
        before: list[ValueBlock] = []
        if overlay and (map.values.moved or map.values.blocks):
            before = [old for i in items if i not in stale and (old := map.values.block_of(i)) is not None]
        map.values.layered = map.values.layered or bool(before)
        map.values.add(block, overlay=overlay, stale=stale)
        ledger = self._ledger
        ledger.added(map, block, here=sent.lane.capabilities.spills)
        for old in before:
            old.live -= 1
        for old in dict.fromkeys(before):
            if not ledger.read_here(map, old):
                ledger.drop(map, old)  # all its items have values in the new block
        if stale and not any(map.values.block_of(i) is block for i in block.indices()):
            ledger.drop(map, block)  # none of its values can be reached

    def settle_new(self, map: MapRun, items: Sequence[int]) -> None:
        """Drop new values without readers at once."""
        consumers = map.consumers
        if consumers.list_refs > 0 or consumers.unfinished_lists > 0:
            return
        if len(items) == 1 and items[0] in consumers.future_refs:
            return
        if isinstance(items, range):
            self._ledger.settle(map, items[0], items[-1] + 1)
            return
        for index in items:
            self._ledger.settle(map, index, index + 1)

    # -- blocks that move ------------------------------------------------------------------------

    def spilled(self, map: MapRun, block: ValueBlock, content: Held) -> None:
        """Note that a block was moved from memory to disk."""
        wanted = self._ledger.spilled(map, block, content)
        lane = self._tables.lanes[block.lane]
        if not wanted and lane.capabilities.values != "held":  # a runner that holds values was told to free it
            self._tables.out.append(Free(block.lane, [block.handle]))
        self._resume()

    def spill_failed(self, block: ValueBlock) -> None:
        """Note that a block could not be moved to disk, and stays."""
        self._ledger.memory.stays(block)
        self._resume()

    def _resume(self) -> None:
        """Look at all lanes again, which may have waited for the disk."""
        self._tables.dirty_lanes.update(lane.index for lane in self._tables.lanes if lane.runnable)

    def moved(self, map: MapRun, block: ValueBlock, items: list[int], to: BlockHandle, content: Held) -> None:
        """Note that the living values of a nearly dead block lie in a block of their own now."""
        ledger = self._ledger
        living = [i for i in items if map.values.block_of(i) is block]
        if block.content is None or not living or ledger.being_read(map, living):
            self._tables.out.append(Free(block.lane, [to]))
            return
        new = ValueBlock(to, block.lane, items, content, content.nbytes)
        map.values.add(new, overlay=True, stale=set(items).difference(living))
        ledger.added(map, new, here=self._tables.lanes[block.lane].capabilities.values == "held")
        ledger.drop(map, block)
        for index in living:
            ledger.settle(map, index, index + 1)

    # -- blocks that go --------------------------------------------------------------------------

    def relieve(self) -> None:
        """Order blocks to leave memory, and the living values of nearly dead blocks to move."""
        ledger, out = self._ledger, self._tables.out
        if ledger.memory.over:
            out.extend(Spill(map, block) for map, block in ledger.memory.choose())
        if not ledger.thin:
            return
        thin, ledger.thin = ledger.thin, []
        for map, block, items in thin:
            if block.content is not None:
                out.append(Move(map, block, items, BlockHandle(-self._tables.new_chunk_id(), 0, 0)))

    def free(self) -> None:
        """Tell the runners to free blocks without readers."""
        by_lane: dict[int, list[BlockHandle]] = {}
        for block in self._ledger.take_freed():
            by_lane.setdefault(block.lane, []).append(block.handle)
        self._tables.out.extend(Free(lane, handles) for lane, handles in by_lane.items())
