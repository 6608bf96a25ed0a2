"""What travels to and lies on Dask's workers: payloads of chunks, blocks of values, and how reports are encoded."""

from __future__ import annotations

import pickle
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from anabranch.core import states
from anabranch.core.contracts import Held, Inline, Packed
from anabranch.core.errors import SerializationError
from anabranch.runners.packing import packed
from anabranch.runners.refusals import fail, without_unpicklable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.contracts import Block, Report

PACKED_BYTES = 64 << 10  # a block above that does not come home with its report


class Blocks:
    """A key's value: the blocks of one chunk that stay on its worker, by (stage, first)."""

    __slots__ = ("nbytes", "values")

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], list[Any]] = {}
        self.nbytes = 0

    def __sizeof__(self) -> int:
        return 256 + self.nbytes  # measured already: Dask need not guess


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
        cloudpickle.Pickler(meter, 5, buffer_callback=meter.aside).dump(values)
    return meter


def encode(report: Report, inline_limit: int, blocks: Blocks | None) -> bool:
    """Turn the report's values into packed blocks, and into held ones where they are large.

    Values that cannot be pickled fail, each alone. With `blocks` None nothing may be held: False
    then says that something is large, and the report is as it was.
    """
    if blocks is None and sum(b.nbytes for b in report.blocks if b is not None) > PACKED_BYTES:
        return False
    found: list[Block] = []
    for stage, block in enumerate(report.blocks):
        if not isinstance(block, Inline):
            found.append(block)
            continue
        values = block.values
        try:
            meter = _measure(values)
        except BaseException:  # whatever a value's own code raises
            values = without_unpicklable(report, stage, values)
            meter = _measure(values)
        limit = min(PACKED_BYTES, inline_limit * max(1, len(values)))
        small = packed(values, b"".join(meter.parts), limit) if meter.size <= limit else None
        if small is not None:
            found.append(small)
        elif blocks is None:
            return False
        else:
            blocks.values[stage, report.first] = values
            blocks.nbytes += meter.size
            found.append(Held(meter.size))
    report.blocks = tuple(found)
    return True


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
        started.extend(report.started or array("i"))
        durations.extend(report.durations or array("i"))
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
    )
    for stage, slot, error in unread:
        text = f"its result does not unpickle on the worker: {type(error).__name__}: {error}"
        fail(whole, stage, slot, SerializationError(text))
    return whole


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
