"""A map as one object: packed per-item state and sparse sets for whatever left the happy path.

    MapRun  codes     one byte an item
            ready     ranges of items that may be sent
            blocks    where values are: (lo, hi, block), sorted, items of a block being consecutive
            moved     item -> block, for values that an attempt after the first left elsewhere
            errors, messages, attempts, ...   only for the items concerned

Single submits of one task share one growing MapRun (kind "submit"), so that bursts are chunked
like a map and cost a byte, not an object, each. Only the dispatcher writes here, under the
pump's lock; futures read single bytes without it.
"""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from anabranch.core.contracts import Held, Inline, Packed
from anabranch.core.errors import ResultReleased
from anabranch.core.item_columns import ItemColumns
from anabranch.core.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from anabranch.core.carried import Carried
    from anabranch.core.contracts import Block, ErrorInfo, Handle, TaskSpec
    from anabranch.core.earlier import Earlier
    from anabranch.core.options import TaskOptions
    from anabranch.core.stored_call import KeptCall


class Upstream(NamedTuple):
    """What an item reads or waits for: one item of a map, or (index None) all of it."""

    map: MapRun
    item: int | None
    allow_failure: bool = False
    value: bool = True  # False: only waited for (`wait_for`)

    @property
    def ended(self) -> bool:
        return self.map.finished if self.item is None else self.map.is_terminal(self.item)


class Source(Protocol):
    """Where a map's arguments come from, see `core.params`."""

    random_access: bool
    exhausted: bool
    length: int | None  # None: nobody knows

    def at(self, index: int) -> Any: ...
    def slice(self, lo: int, hi: int) -> Sequence[Any]: ...


RELEASED = object()  # in the place of a value that was let go while its block lives on

# Reading item after item of one block must not unpickle it again for each.
_last: tuple[Packed, list[Any]] | None = None


class ValueBlock:
    """The driver's view of one block of values; `live` counts the slots that may still be read."""

    __slots__ = (
        "content", "count", "first", "handle", "in_memory", "item_list", "lane", "live", "movable", "nbytes", "seen",
    )  # fmt: skip

    def __init__(self, handle: Handle, lane: int, items: Sequence[int], content: Block, nbytes: int) -> None:
        self.handle = handle
        self.lane = lane
        self.first = items[0] if items else 0
        # A range is its first item and its length; anything else is spelt out.
        self.item_list: Sequence[int] | None = None if isinstance(items, range) else items
        self.content = content
        self.count = self.live = len(items)
        self.nbytes = nbytes
        self.in_memory = False  # of this machine; see engine.memory
        self.movable = False  # what lives of it can be copied to a block of its own
        self.seen = 0  # the slot that was found to be read last: looked at first the next time

    def slot(self, index: int) -> int:
        return index - self.first if self.item_list is None else self.item_list.index(index)

    def unpack(self, slot: int) -> Any:
        """A value of a packed block; the list unpacked last is remembered. Raises what reading the value raises."""
        global _last
        content = self.content
        assert isinstance(content, Packed)
        if content.ends is not None:
            return content.value(slot)
        last = _last
        if last is None or last[0] is not content:
            _last = last = (content, content.values())
        return last[1][slot]

    def indices(self) -> Sequence[int]:
        return range(self.first, self.first + self.count) if self.item_list is None else self.item_list

    @property
    def held(self) -> bool:
        return isinstance(self.content, Held)


class MapRun(ItemColumns):
    """See the module's head. Made by the session, filled by the dispatcher."""

    __slots__ = (
        "__weakref__",
        "append_index",
        "args",
        "bases",
        "began",
        "blocked_items",
        "blocks",
        "bytes_held",
        "bytes_released",
        "bytes_spilled",
        "call",
        "call_key",
        "cancelled",
        "carried",
        "causes",
        "chunk_option",
        "closed",
        "code_hash",
        "constants_ready",
        "constants_ref",
        "consumed",
        "crashes",
        "created",
        "depth",
        "done",
        "earlier",
        "ended_at",
        "error",
        "errors",
        "excused",
        "feeds",
        "flow_run_id",
        "followers",
        "forgotten",
        "gaps",
        "gate",
        "handled",
        "handles",
        "item_consumers",
        "item_upstreams",
        "keep",
        "keys",
        "kind",
        "lane",
        "layered",
        "layout",
        "limits",
        "links",
        "links_told",
        "list_consumers",
        "list_handles",
        "list_readers",
        "map_consumers",
        "moved",
        "names",
        "on_lane",
        "options",
        "parent_id",
        "pipe_ref",
        "pulling",
        "read_singly",
        "readers",
        "recipes",
        "refused",
        "resources",
        "resumable",
        "scope",
        "sealed",
        "sent",
        "serial",
        "source",
        "spec",
        "spec_ref",
        "stage_ref",
        "starred",
        "starved",
        "stored",
        "stream",
        "subscribers",
        "tags",
        "waiters",
        "window",
    )  # fmt: skip

    serials = itertools.count(1)

    def __init__(
        self,
        id: str,
        spec: TaskSpec,
        options: TaskOptions,
        *,
        kind: str,
        lane: int,
        flow_run_id: str = "",
        parent_id: str = "",
        tags: tuple[str, ...] = (),
        keep: bool = True,
        source: Source | None = None,
        feeds: tuple[Upstream, ...] = (),
        scope: Any = None,
    ) -> None:
        super().__init__(id)
        self.serial = next(self.serials)
        self.spec = spec
        self.options = options
        self.kind = kind
        self.lane = lane
        self.flow_run_id = flow_run_id
        self.parent_id = parent_id
        self.tags = tags
        self.keep = keep
        self.scope = scope
        self.source = source
        self.feeds = feeds  # item-wise upstreams, in the order of the binding's mapped columns
        self.spec_ref = self.stage_ref = self.pipe_ref = 0
        self.chunk_option: int | None = None
        self.window: int | None = None
        self.resources = options.needs()
        self.limits: tuple[str, ...] = ()
        self.depth = 0
        self.starred = kind == "submit"  # items are whole calls: (args, kwargs)
        self.created = 0.0
        self.began = 0.0  # by the clock that nobody sets
        self.ended_at: float | None = None
        self.layout: tuple[int, ...] | None = None  # per mapped column: source element k, or -(feed + 1)

        self.append_index = itertools.count()
        self.links: deque[tuple[int, int]] = deque()  # new single runs, with the one before them whose value they take
        self.links_told = False  # the dispatcher has an event that it will take them in at
        self.closed = False  # no more items will come
        self.gate = 0  # upstreams that the whole map waits for
        self.constants_ready = True
        self.constants_ref: int | None = None
        self.on_lane = False
        self.sent = 0  # items in flight
        self.done = 0  # items in a terminal state
        self.pulling = False
        self.error: BaseException | None = None  # the user's iterator raised, lengths differ
        self.cancelled = ""  # by whom, as `core.reasons` has it
        self.refused = ""  # why nothing of it can be sent
        self.call: KeptCall | None = None  # of a map in a resumable run, or whose hooks may ask
        self.sealed = False
        self.forgotten = False  # its flow run has ended

        self.args: dict[int, Any] = {}
        self.excused: dict[int, int] = {}  # of these, how many do not count against the user's retries
        self.crashes: dict[int, int] = {}  # item -> deaths of its worker while it ran
        self.starved: dict[int, int] = {}  # of these, those for want of memory
        self.errors: dict[int, ErrorInfo] = {}
        self.names: dict[int, str] = {}
        self.causes: dict[int, tuple[tuple[MapRun, int], ...]] = {}  # why an item was not admitted
        self.handled: set[int] = set()  # failures that reached the flow's code

        self.blocks: list[ValueBlock] = []  # sorted by first item
        self.bases: list[int] = []  # their first items, for bisect
        self.stored = Places()  # where the result store has values of it
        self.resumable = False  # what is stored is recorded, and may be read in place of a value that was let go
        self.call_key = self.code_hash = ""  # of the call that made it; of its task's source
        self.keys: bytearray | None = None  # of single runs: a digest of its inputs for each
        self.earlier: Earlier | None = None  # what an earlier driver of the run has left of it
        # None: let go, while a block of an earlier attempt, which has no value of it, is still there.
        self.moved: dict[int, ValueBlock | None] = {}
        self.layered = False  # blocks lie over others, in part
        self.gaps = not keep  # some values of completed items are not to be had any more
        self.bytes_held = 0
        self.bytes_released = 0  # so far, of values let go
        self.bytes_spilled = 0  # so far, moved from memory to disk

        self.handles: dict[int, int] = {}
        self.list_handles = 0
        self.carried: Carried | None = None  # where its runs are in this process
        self.readers: bytearray | None = None  # unfinished item-wise consumers per item
        self.list_readers = 0  # unfinished consumers of the whole list
        self.map_consumers: list[MapRun] = []
        self.item_consumers: dict[int, list[tuple[MapRun, int]]] = {}
        # Of a link that waits for the one before it nothing is written down but this: see `engine/fusing.py`.
        self.followers: dict[int, int] = {}
        self.list_consumers: list[tuple[MapRun, int | None]] = []
        self.read_singly = False  # by single runs, not item by item by a map
        self.recipes: dict[int, tuple[Upstream, ...]] = {}  # what ended items read, where that may be needed again
        self.item_upstreams: dict[int, tuple[Upstream, ...]] = {}
        self.blocked_items: dict[int, int] = {}  # item -> upstreams it still waits for

        self.stream: int | None = None  # an open ordered iterator has consumed up to here
        self.consumed = 0
        self.waiters: dict[int | None, list[Callable[[], None]]] = {}
        self.subscribers: list[Callable[[MapRun, Sequence[int]], None]] = []

    # -- reading ---------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self.closed and self.done >= len(self.codes)

    def counted(self, index: int) -> int:
        """The attempt as the user's `retries` count it: without those that the infrastructure lost."""
        return self.attempts.get(index, 1) - self.excused.get(index, 0)

    def next_attempt(self, index: int, *, excused: bool) -> None:
        """The item begins anew; `excused`: what it loses was not its own doing."""
        self.attempts[index] = self.attempt(index) + 1
        if excused:
            self.excused[index] = self.excused.get(index, 0) + 1

    def ended_by(self, now: float) -> float:
        """The Unix time of `now` by the clock that nobody sets: as if the wall clock had not been set meanwhile."""
        return self.created + now - self.began

    def handle(self, index: int) -> None:
        """The item's failure reached the flow's code; so did the failures that caused it."""
        if index in self.handled:
            return
        self.handled.add(index)
        for cause, at in self.causes.get(index, ()):
            cause.handle(at)

    def add_block(self, block: ValueBlock, *, overlay: bool, stale: Set[int] = frozenset()) -> None:
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
        return self.bases[at] if at < len(self.bases) else len(self.codes)

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

    def forget_block(self, block: ValueBlock) -> None:
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

    def released_error(self, index: int) -> ResultReleased:
        if not self.keep:
            return ResultReleased(f'item {index} of {self.spec.name!r} has no value: the map was made with keep="none"')
        return ResultReleased(
            f"the value of {self.spec.name!r} item {index} was released with its last reader; keep the future (or the "
            "list that map returned) while you need it, or store it with persist_result=True"
        )
