"""Builds a chunk: its items, the stages that travel along, and the arguments."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import told
from anabranch.core.chunks import Chunk
from anabranch.core.errors import SerializationError
from anabranch.core.failures import capture, exception_of
from anabranch.core.frozen import Filled, Frozen
from anabranch.core.reasons import make
from anabranch.core.reports import Held, Inline, Packed
from anabranch.core.search import Hole
from anabranch.core.sizes import sizeof
from anabranch.core.states import FAILED, is_success
from anabranch.core.value_index import RELEASED
from anabranch.core.walk import fill
from anabranch.engine.chunks import between_reports
from anabranch.engine.fusing import PIPE, follow
from anabranch.engine.lanes import Flight
from anabranch.engine.limits import memory_limit
from anabranch.engine.ranges import as_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.chunks import BlockHandle
    from anabranch.core.maps import MapRun, Upstream
    from anabranch.core.value_index import ValueBlock
    from anabranch.engine.board import Board
    from anabranch.engine.lanes import Lane
    from anabranch.engine.tables import Tables

LIGHT_BYTES = 4096  # items with smaller arguments may travel together in any number,
MANY_PARTS = 64  # unless an argument has more parts than this, which are not counted
INLINE_BYTES = 1024  # a value up to this size comes home inside its report,
PACKED_BYTES = 64 << 20  # until the driver holds so many bytes of them


def next_chunk(board: Board, lane: Lane, map: MapRun) -> Chunk | None:
    """Take items off the map's ready ranges and make a chunk in flight of them."""
    tables = board.tables
    items = take_items(tables, lane, map)
    if not items:
        return None
    try:
        read = arguments(map, items)
    except Exception:  # unpickling a value may raise anything
        items = _readable(board, map, items)
        if not items:
            return None
        read = arguments(map, items)
    again = bool(map.attempts) and any(i in map.attempts for i in items)
    # Readers of an item that runs again may be in flight already.
    maps, per_stage = ((map,), (items,)) if again else follow(tables.ledger, map, items)
    chunk = _written(tables, map, items, read, maps, per_stage)
    _commit(tables, Flight(chunk, lane, maps, per_stage, tables.wall))
    return chunk


def _written(
    tables: Tables, map: MapRun, items: Sequence[int], read: Arguments, maps: tuple[MapRun, ...],
    per_stage: tuple[Sequence[int], ...],
) -> Chunk:  # fmt: skip
    """Return the chunk of these items and stages, with the arguments that were read."""
    attempts = left_out = None
    if map.attempts:
        numbers = [map.attempts.get(i, 1) for i in items]
        attempts = numbers if any(n > 1 for n in numbers) else None
        uncounted = map.budgets.uncounted
        left_out = [uncounted.get(i, 0) for i in items] if attempts and uncounted else None
    slots = tables.lanes[map.sending.lane].slots
    stages, keep, timeout = _one_stage(map, items) if len(maps) == 1 else _several_stages(maps, per_stage)
    return Chunk(
        id=tables.new_chunk_id(),
        stages=stages,
        items=items,
        args=read.args,
        attempts=attempts,
        uncounted_attempts=left_out,
        inputs=tuple(read.inputs),
        wants=read.wants,
        saved=tuple(read.saved),
        keep=keep,
        close_seconds=0.0 if map.sending.chunk_option else tables.pace(map).too_long(len(items), slots),
        report_seconds=between_reports(slots),
        inline_limit=INLINE_BYTES if tables.ledger.bytes_packed < PACKED_BYTES else 0,
        stage_items=() if len(maps) == 1 or all(i is items for i in per_stage) else per_stage,
        priority=map.options.priority,
        resources=map.sending.resources,
        timeout=timeout,
        flow_run_id=map.header.flow_run_id,
    )


def _commit(tables: Tables, sent: Flight) -> None:
    """Put the chunk in flight: enter it in its maps and its limits."""
    map, chunk = sent.maps[0], sent.chunk
    if map.sending.limits:
        sent.limits, sent.places = map.sending.limits, tables.limits.fill(map, len(chunk.items))
        sent.at_once = tables.limits.capacity.get(memory_limit(map), 0)
    tables.sent[chunk.id] = sent
    for stage_map in sent.once:
        stage_map.queue.running.add(chunk.id)
    map.queue.sent += len(chunk.items)


def _readable(board: Board, map: MapRun, items: Sequence[int]) -> Sequence[int]:
    """Return the items with readable arguments; the others fail, each with the exception of its argument."""
    found = []
    for index in items:
        try:
            arguments(map, (index,))
        except Exception as error:
            text = f"an argument does not unpickle in the driver: {told(error)}"
            info = capture(SerializationError(text), in_process=True)
            board.end_items(map, (index,), FAILED, text, info, make("unserializable"))
        else:
            found.append(index)
    return as_range(found) if found else ()


_Stages = tuple[tuple[int, ...], tuple[bool, ...], float | None]  # refs, which values are kept, longest time-out


def _one_stage(map: MapRun, items: Sequence[int]) -> _Stages:
    return (map.sending.stage_ref,), (_kept(map, items, None),), map.options.timeout_seconds or None


def _several_stages(maps: tuple[MapRun, ...], per_stage: tuple[Sequence[int], ...]) -> _Stages:
    refs = tuple([m.sending.pipe_ref if n and m.kind == "submit" else m.sending.stage_ref for n, m in enumerate(maps)])
    laters = (*maps[1:], None)
    keep = tuple([_kept(m, items, later) for m, items, later in zip(maps, per_stage, laters, strict=True)])
    return refs, keep, max([m.options.timeout_seconds or 0.0 for m in dict.fromkeys(maps)]) or None


def take_items(tables: Tables, lane: Lane, map: MapRun) -> Sequence[int]:
    """Return the next items: one range if the first is long enough, else several."""
    ready = map.queue.ready
    lo, hi, exact = ready[0]
    most = tables.limits.most(map) if map.sending.limits else hi
    if exact and hi - lo > most:
        ready[0] = (lo + most, hi, True)
        return range(lo, lo + most)
    if exact or (hi - lo == 1 and len(ready) == 1):
        ready.popleft()
        return range(lo, hi)
    waiting = sum(b - a for a, b, _ in islice(ready, 64)) + max(0, len(ready) - 64)  # at least
    together = map.done > 0 and _light(map, lo)
    size = tables.pace(map).size(waiting, lane.slots, fixed=map.sending.chunk_option, together=together)
    if map.sending.limits:
        size = min(size, most)
    if tables.walltime is not None:
        size = int(min(size, tables.walltime.room(map)))
    if hi - lo >= size or len(ready) == 1:
        take = min(size, hi - lo)
        if lo + take == hi:
            ready.popleft()
        else:
            ready[0] = (lo + take, hi, False)
        return range(lo, lo + take)
    items: list[int] = []
    while ready and len(items) < size and not ready[0][2]:
        lo, hi, _ = ready.popleft()
        take = min(hi - lo, size - len(items))
        items.extend(range(lo, lo + take))
        if lo + take < hi:
            ready.appendleft((lo + take, hi, False))
    return as_range(items)


def _light(map: MapRun, index: int) -> bool:
    """Return whether the item's argument, as far as the driver has it, is small."""
    source = map.inputs.source
    given = source.at(index) if source is not None and source.random_access else map.inputs.args.get(index)
    if map.inputs.starred and type(given) is tuple:
        args, kwargs = given
        given = (*args, *kwargs.values())
    parts = given if type(given) is tuple else (given,)
    return len(parts) <= MANY_PARTS and all(sizeof(part) <= LIGHT_BYTES for part in parts)


def _kept(map: MapRun, items: Sequence[int], later: MapRun | None) -> bool:
    """Return whether a stage's values have readers beyond the next stage (or may be needed to repeat it)."""
    consumers = map.consumers
    if consumers.unfinished_lists or (later is not None and (later.options.retries or later.options.cached)):
        return True
    if map.keep and (later is None or consumers.list_refs or not consumers.future_refs.keys().isdisjoint(items)):
        return True
    travels, unfinished = 0 if later is None else 1, consumers.unfinished
    return unfinished is not None and max([unfinished[i] for i in items]) > travels


# -- arguments -----------------------------------------------------------------------------------


class Arguments:
    """One argument item per position, with `Hole`s for values that stay where they are; see `Chunk`."""

    __slots__ = ("args", "handles", "inputs", "saved", "wants")

    def __init__(self) -> None:
        self.args: Sequence[Any] = ()
        self.inputs: list[tuple[BlockHandle, int]] = []
        self.handles: dict[ValueBlock, BlockHandle] = {}  # one a block: a pickle has it once
        self.saved: list[tuple[str, int]] = []
        self.wants: dict[int, tuple[int, ...]] = {}


def arguments(map: MapRun, items: Sequence[int]) -> Arguments:
    """Return the arguments of a chunk of these items."""
    found, inputs = Arguments(), map.inputs
    if inputs.upstreams and not inputs.feeds and (inputs.source is None or not inputs.source.random_access):
        found.args = [_single(map, index, position, found) for position, index in enumerate(items)]
    elif inputs.feeds:
        found.args = [_fed(map, index, position, found) for position, index in enumerate(items)]
    else:
        found.args = _from_source(map, items)
    return found


def _from_source(map: MapRun, items: Sequence[int]) -> Sequence[Any]:
    source = map.inputs.source
    if source is not None and source.random_access:
        if isinstance(items, range):
            return source.slice(items[0], items[-1] + 1)
        return [source.at(i) for i in items]
    return [map.inputs.args[i] for i in items]


def _single(map: MapRun, index: int, position: int, read: Arguments) -> Any:
    item = map.inputs.args[index]
    upstreams = map.inputs.upstreams.get(index)
    if not upstreams:
        return item
    if item is PIPE:
        item = ((Hole(0, upstreams[0].allow_failure),), {})
    here: list[int] = []
    values = [_value_of(up, up.item, read, here) for up in upstreams if up.value]
    if here:
        read.wants[position] = tuple(here)
    if type(item) is Frozen:
        return Filled(item, values) if values else item
    return fill(item, values)


def _fed(map: MapRun, index: int, position: int, read: Arguments) -> Any:
    here: list[int] = []
    assert map.inputs.layout is not None
    source = map.inputs.source
    given: Any = None
    if source is not None:
        given = source.at(index) if source.random_access else map.inputs.args[index]
    several = sum(k >= 0 for k in map.inputs.layout) > 1
    row = [
        (given[k] if several else given) if k >= 0 else _value_of(map.inputs.feeds[-k - 1], index, read, here)
        for k in map.inputs.layout
    ]
    if here:
        read.wants[position] = tuple(here)
    return row[0] if len(row) == 1 else tuple(row)


def _value_of(up: Upstream, index: int | None, read: Arguments, here: list[int]) -> Any:
    """Return the value itself when it is in the driver, else a Hole that the worker fills."""
    if index is None:
        return [_value_of(up, i, read, here) for i in range(len(up.map.codes))]
    map = up.map
    if not is_success(map.codes[index]):
        return exception_of(map, index)
    block = map.values.block_of(index)
    if block is None or block.content is None:
        return _saved(map, index, read, here)
    slot = block.slot(index)
    if isinstance(block.content, Inline):
        value = block.content.values[slot]
        return _saved(map, index, read, here) if value is RELEASED else value
    if isinstance(block.content, Packed):
        return block.unpack((slot,))[0]
    assert isinstance(block.content, Held)
    here.append(len(read.inputs))
    handle = read.handles.get(block)
    if handle is None:
        handle = read.handles[block] = block.handle
    read.inputs.append((handle, slot))
    return Hole(len(here) - 1, False)


def _saved(map: MapRun, index: int, read: Arguments, here: list[int]) -> Any:
    """Return a Hole for a value that only the result store has, if it is there."""
    place = map.values.stored.find(index) if map.values.resumable else None
    if place is None:
        return None
    read.saved.append(place)
    here.append(-len(read.saved))
    return Hole(len(here) - 1, False)
