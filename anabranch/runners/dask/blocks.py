"""What travels to and lies on Dask's workers: payloads of chunks, blocks of values, and how reports are encoded."""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from anabranch.core import states
from anabranch.core.asking import told
from anabranch.core.errors import SerializationError
from anabranch.core.microseconds import joined
from anabranch.core.own_code import pickler
from anabranch.core.reports import Held, Inline, Packed
from anabranch.runners.transport.packing import pack_blocks, packed
from anabranch.runners.transport.refusals import fail
from anabranch.runners.transport.value_files import PACKED_BYTES, pickled

if TYPE_CHECKING:
    from anabranch.core.reports import Block, Report
    from anabranch.core.spent import Noted

_Pickler = pickler(cloudpickle.Pickler)


class Blocks:
    """A key's value: the blocks of one chunk that stay on its worker, by (stage, first)."""

    __slots__ = ("nbytes", "values")

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], Sequence[Any]] = {}
        self.nbytes = 0

    def __sizeof__(self) -> int:
        return 256 + self.nbytes  # measured already: Dask need not guess

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        parts = {at: _parts(values, protocol) for at, values in self.values.items()}
        return _arrived, (parts, self.nbytes)


class ArrivedBlock(Sequence[Any]):
    """The values of a block made elsewhere, each unpickled when first read: a bad one harms its readers alone."""

    __slots__ = ("_pickles", "_values")

    def __init__(self, pickles: Sequence[tuple[Any, ...]]) -> None:
        self._pickles: list[tuple[Any, ...] | None] = list(pickles)  # each with its buffers; None: it was read
        self._values: list[Any] = [None] * len(self._pickles)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, slot: Any) -> Any:
        found = self._pickles[slot]
        if found is not None:
            data, *buffers = found
            self._values[slot] = pickle.loads(data, buffers=buffers)
            self._pickles[slot] = None
        return self._values[slot]

    def pickle(self, slot: int) -> tuple[Any, ...]:
        """One value's pickle and its buffers, as they came if nobody has read it."""
        return self._pickles[slot] or _pickle(self._values[slot])


def _pickle(value: Any) -> tuple[Any, ...]:
    data, buffers = pickled(value)
    return data, *buffers


def _parts(values: Sequence[Any], protocol: int) -> list[tuple[Any, ...]]:
    """A pickle of each value; large buffers travel as they are (protocol 5)."""
    wrap: Any = pickle.PickleBuffer if protocol >= 5 else bytes
    each = map(values.pickle, range(len(values))) if isinstance(values, ArrivedBlock) else map(_pickle, values)
    return [tuple([wrap(piece) if memoryview(piece).nbytes >= PACKED_BYTES else bytes(piece) for piece in found])
            for found in each]  # fmt: skip


def _arrived(parts: dict[tuple[int, int], list[tuple[Any, ...]]], nbytes: int) -> Blocks:
    blocks = Blocks()
    blocks.values = {at: ArrivedBlock(pickles) for at, pickles in parts.items()}
    blocks.nbytes = nbytes
    return blocks


class Scattered(NamedTuple):
    """Where a large shared value lies: under this key on one worker, from which the others take it."""

    key: str


class _Meter:
    """A file that keeps a small pickle and only counts a large one."""

    def __init__(self) -> None:
        self.size = 0
        self.parts: list[bytes] = []

    def write(self, data: Any) -> int:
        length = memoryview(data).nbytes
        self.size += length
        if self.size <= PACKED_BYTES:
            self.parts.append(bytes(data))
        else:
            self.parts.clear()
        return length

    def aside(self, buffer: pickle.PickleBuffer) -> bool:
        if len(buffer.raw()) < PACKED_BYTES:
            return True
        self.size += len(buffer.raw())
        self.parts.clear()
        return False


def _measure(values: Any) -> _Meter:
    """Pickle, keeping at most `PACKED_BYTES`; raises what pickling raises."""
    meter = _Meter()
    try:
        pickle.Pickler(meter, 5, buffer_callback=meter.aside).dump(values)
    except Exception:
        meter = _Meter()
        _Pickler(meter, 5, buffer_callback=meter.aside).dump(values)
    return meter


def encode(report: Report, inline_limit: int, blocks: Blocks | None) -> bool:
    """Turn the report's values into packed blocks, and into held ones where they are large.

    Values that cannot be pickled fail, each alone. With `blocks` None nothing may be held: False
    then says that something is large, and the report is as it was.
    """
    if blocks is None and sum(b.nbytes for b in report.blocks if b is not None) > PACKED_BYTES:
        return False
    before, large = report.blocks, False

    def pack(stage: int, values: list[Any]) -> Block:
        nonlocal large
        if large:
            return None
        meter = _measure(values)
        limit = min(PACKED_BYTES, inline_limit * max(1, len(values)))
        small = packed(values, b"".join(meter.parts), limit) if meter.size <= limit else None
        if small is not None:
            return small
        if blocks is None:
            large = True
            return None
        blocks.values[stage, report.first] = values
        blocks.nbytes += meter.size
        return Held(meter.size)

    pack_blocks(report, pack)
    if large:
        report.blocks = before
    return not large


def _codes(report: Report, stages: int) -> Sequence[bytes]:
    return report.codes if report.codes is not None else [bytes([states.COMPLETED]) * report.count] * stages


def combine(reports: list[Report]) -> Report:
    """Consecutive reports of one chunk, whose values are objects or packed (by a child), as one."""
    last = reports[-1]
    if len(reports) == 1:
        return last
    stages = max(len(report.blocks) for report in reports)
    started, durations = array("i"), array("i")
    for report in reports:
        started = joined(started, report.started or array("i"))
        durations = joined(durations, report.durations or array("i"))
    codes = None
    if any(report.codes is not None for report in reports):
        codes = tuple(b"".join(_codes(report, stages)[stage] for report in reports) for stage in range(stages))
    unread: list[tuple[int, int, Exception]] = []
    whole = replace(
        last,
        first=reports[0].first,
        count=sum(report.count for report in reports),
        started=started,
        durations=durations,
        codes=codes,
        outcomes=[outcome for report in reports for outcome in report.outcomes],
        blocks=tuple(_joined(reports, stage, unread) for stage in range(stages)),
        noted=_noted(reports),
    )
    for stage, slot, error in unread:
        text = f"its result does not unpickle on the worker: {told(error)}"
        fail(whole, stage, slot, SerializationError(text))
    return whole


def _noted(reports: list[Report]) -> Noted | None:
    """What all of these reports say of their worker's time; the first one alone tells of the time before the chunk."""
    told = [report.noted for report in reports if report.noted is not None]
    if not told:
        return None
    return (told[0][0], told[0][1], sum(one[2] for one in told), sum(one[3] for one in told))


def _joined(reports: list[Report], stage: int, unread: list[tuple[int, int, Exception]]) -> Block:
    """The values of one stage; (stage, slot, why) of those that cannot be read are added to `unread`."""
    values: list[Any] = []
    nbytes, any_values = 0, False
    for report in reports:
        block = report.blocks[stage] if stage < len(report.blocks) else None
        if isinstance(block, Inline):
            any_values = True
            values.extend(block.values)
            nbytes += block.nbytes
        elif isinstance(block, Packed):
            any_values = True
            if block.ends is None:
                values.extend(block.values())
            else:
                for slot in range(report.count):
                    try:
                        values.append(block.value(slot))
                    except Exception as error:
                        unread.append((stage, len(values), error))
                        values.append(None)
            nbytes += block.nbytes
        else:
            values.extend([None] * report.count)
    return Inline(values, nbytes) if any_values else None
