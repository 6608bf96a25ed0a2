"""Where the values of a map's items lie: in blocks of consecutive items, and single ones that were made again.

    blocks    first attempts: (lo, hi, block), sorted by first item
    moved     item -> block, for values that an attempt after the first left elsewhere; it lies over the blocks
    stored    item -> place in the result store

It knows nothing of states: the items are numbers here.
"""

from __future__ import annotations

import bisect
import itertools
import sys
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import BlockHandle
from anabranch.core.places import Places
from anabranch.core.reports import Held, Inline, Packed

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from anabranch.core.reports import Block

RELEASED = object()  # in the place of a value that was let go while its block lives on
HELD = Held()  # the content of all blocks that a runner holds: a map of ten million items may have half a million

# Reading item after item of one block must not unpickle it again for each.
_last: tuple[Packed, list[Any]] | None = None


class ValueBlock:
    """The driver's view of one block of values; `live` counts the slots that may still be read."""

    __slots__ = (
        "chunk", "content", "count", "first", "in_memory", "item_list", "lane", "live", "movable", "nbytes", "position",
        "seen", "stage",
    )  # fmt: skip

    def __init__(self, handle: BlockHandle, lane: int, items: Sequence[int], content: Block, nbytes: int) -> None:
        self.chunk, self.stage, self.position = handle  # three numbers are a third of it
        self.lane = lane
        self.first = items[0] if items else 0
        # A range is its first item and its length; anything else is spelt out.
        self.item_list: Sequence[int] | None = None if isinstance(items, range) else items
        self.content = HELD if type(content) is Held else content
        self.count = self.live = len(items)
        self.nbytes = nbytes
        self.in_memory = False  # of this machine; see engine.memory
        self.movable = False  # what lives of it can be copied to a block of its own
        self.seen = 0  # the slot that was found to be read last: looked at first the next time

    @property
    def handle(self) -> BlockHandle:
        return BlockHandle(self.chunk, self.stage, self.position)

    def slot(self, index: int) -> int:
        return index - self.first if self.item_list is None else self.item_list.index(index)

    def slots(self, lo: int, hi: int) -> Sequence[int]:
        """The slots of items that all lie in this block."""
        if self.item_list is None:
            return range(lo - self.first, hi - self.first)
        return [self.item_list.index(i) for i in range(lo, hi)]

    def unpack(self, slots: Sequence[int]) -> list[Any]:
        """Values of a packed block; the list unpacked last is remembered. Raises what reading a value raises."""
        global _last
        content = self.content
        assert isinstance(content, Packed)
        if content.ends is not None:
            return [content.value(slot) for slot in slots]
        last = _last
        if last is None or last[0] is not content:
            _last = last = (content, content.values())
        return picked(last[1], slots)

    def indices(self) -> Sequence[int]:
        return range(self.first, self.first + self.count) if self.item_list is None else self.item_list

    @property
    def held(self) -> bool:
        return isinstance(self.content, Held)


def picked(values: list[Any], slots: Sequence[int]) -> list[Any]:
    """The values in these slots; of a range by one copy."""
    return values[slots.start : slots.stop] if isinstance(slots, range) else [values[slot] for slot in slots]


NO_ITEM = sys.maxsize  # behind the last item, however many there are


class ValueIndex:
    """See the module's head. The dispatcher changes it, under the pump's lock.

    Attributes:
        bases: the first items of `blocks`, for bisect.
        layered: some blocks lie over others, in part.
        gaps: some values of completed items are not to be had any more.
        unfilled: a block was taken in that lacks values of some of its items, which another attempt is to make.
        resumable: a stored value is recorded, and is read in place of one that was let go.
    """

    __slots__ = ("bases", "blocks", "gaps", "layered", "moved", "resumable", "stored", "unfilled")

    def __init__(self, *, gaps: bool = False) -> None:
        self.blocks: list[ValueBlock] = []
        self.bases: list[int] = []
        # None: let go, while a block of an earlier attempt, which has no value of it, is still there.
        self.moved: dict[int, ValueBlock | None] = {}
        self.stored = Places()
        self.resumable = False
        self.layered = False
        self.gaps = gaps
        self.unfilled = False

    def add(self, block: ValueBlock, *, overlay: bool, stale: Set[int] = frozenset()) -> None:
        """Remember where values are, but for `stale` items; with `overlay` over a block of an earlier attempt."""
        first, last = block.first, block.first + block.count
        if stale or (not overlay and self.next_base(first) < last):
            self.layered = True
        if block.item_list is None and not overlay:
            at = bisect.bisect_left(self.bases, block.first)
            self.bases.insert(at, block.first)
            self.blocks.insert(at, block)
        else:
            for index in block.indices():
                if index not in stale:
                    self.moved[index] = block

    def block_of(self, index: int) -> ValueBlock | None:
        """The block that holds an item's value; None when it has none or it was released."""
        if index in self.moved:
            return self.moved[index]
        at = bisect.bisect_right(self.bases, index) - 1
        if at < 0:
            return None
        block = self.blocks[at]
        return block if index - block.first < block.count else None

    def next_base(self, index: int) -> int:
        """The first item after `index` at which another block begins: it hides the rest of one before."""
        at = bisect.bisect_right(self.bases, index)
        return self.bases[at] if at < len(self.bases) else NO_ITEM

    def blocks_between(self, lo: int, hi: int) -> list[ValueBlock]:
        """Blocks of first attempts that overlap [lo, hi)."""
        at = max(0, bisect.bisect_right(self.bases, lo) - 1)
        found = []
        for block in itertools.islice(self.blocks, at, None):
            if block.first >= hi:
                break
            if block.first + block.count > lo:
                found.append(block)
        return found

    def moved_blocks(self, lo: int, hi: int) -> list[ValueBlock]:
        """Blocks of later attempts with an item in [lo, hi)."""
        if not self.moved:
            return []
        if hi - lo < len(self.moved):
            found = (self.moved[i] for i in range(lo, hi) if i in self.moved)
        else:
            found = (block for i, block in self.moved.items() if lo <= i < hi)
        return [block for block in dict.fromkeys(found) if block is not None]

    def forget(self, block: ValueBlock) -> None:
        """No value of the block will be read again."""
        at = bisect.bisect_left(self.bases, block.first) if self.bases else 0
        while at < len(self.blocks) and self.bases[at] == block.first:
            if self.blocks[at] is block:
                del self.blocks[at], self.bases[at]
                break
            at += 1
        for index in block.indices() if self.moved else ():
            if index in self.moved and self.moved[index] in (block, None):
                del self.moved[index]
                if self.block_of(index) is not None:
                    self.moved[index] = None

    def has_value(self, index: int) -> bool:
        """Whether the value of a completed item can still be read."""
        if self.resumable and self.stored.find(index) is not None:
            return True
        block = self.block_of(index)
        if block is None or block.content is None:
            return False
        return not isinstance(block.content, Inline) or block.content.values[block.slot(index)] is not RELEASED

    def located(self, lo: int, hi: int) -> tuple[ValueBlock | None, Any, int]:
        """The block of item `lo`, its content, and the first item after `lo`, up to `hi`, that is elsewhere."""
        block = self.block_of(lo)
        if block is None:
            return None, None, lo + 1
        stop = lo + 1
        if block.item_list is None and lo not in self.moved:
            stop = min(hi, block.first + block.count, self.next_base(lo))
            if self.moved:
                stop = next((i for i in range(lo, stop) if i in self.moved), stop)
        return block, block.content, stop
