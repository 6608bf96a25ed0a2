"""Values on their way to and in Ray's object store: blocks of pickles, and how a worker encodes its reports.

A block holds several values. Each has a pickle of its own, so that one is read without the others;
all pickles lie in one piece and large buffers apart, which Ray maps instead of copying.
"""

from __future__ import annotations

import pickle
import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.contracts import Inline, Outcome, Packed
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import SerializationError
from anabranch.core.failures import capture
from anabranch.runners.value_files import LARGE, PACKED_BYTES, dumps, pickled, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Block, Held, Report
    from anabranch.runners.value_files import Pickled


class StoredBlock(Sequence[Any]):
    """The values of a block, each read when asked for, as a copy of its own."""

    __slots__ = ("_buffers", "_data", "_index")

    def __init__(self, index: array[int], data: Any, *buffers: Any) -> None:
        self._index = index  # for each value: where its pickle ends, and its buffers
        self._data = data
        self._buffers = buffers

    @classmethod
    def of(cls, parts: Sequence[Pickled]) -> StoredBlock:
        index = array("Q")
        end = count = 0
        for data, buffers in parts:
            end += len(data)
            count += len(buffers)
            index.extend((end, count))
        return cls(index, b"".join([data for data, _ in parts]), *(b for _, buffers in parts for b in buffers))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        wrap: Any = pickle.PickleBuffer if protocol >= 5 else bytes
        return StoredBlock, (self._index, wrap(self._data), *(wrap(buffer) for buffer in self._buffers))

    @property
    def nbytes(self) -> int:
        return sum(memoryview(piece).nbytes for piece in (self._data, *self._buffers))

    def __len__(self) -> int:
        return len(self._index) // 2

    def __getitem__(self, slot: Any) -> Any:
        if not 0 <= slot < len(self):
            raise IndexError(slot)
        start, first = self._index[2 * slot - 2 : 2 * slot] if slot else (0, 0)
        end, last = self._index[2 * slot : 2 * slot + 2]
        # Copies: what Ray has mapped is read-only, and stays in its store for as long as somebody looks at it.
        buffers = [bytearray(buffer) for buffer in self._buffers[first:last]]
        return pickle.loads(memoryview(self._data)[start:end], buffers=buffers)


def encode(report: Report, inline_limit: int, hold: Callable[[int, StoredBlock], Held]) -> None:
    """Turn the report's values into packed blocks, and give those that are large to `hold` (with their stage).

    Values that cannot be pickled fail, each alone; when `hold` cannot take a block, its values do.
    """
    found: list[Block] = []
    for stage, block in enumerate(report.blocks):
        if not isinstance(block, Inline):
            found.append(block)
            continue
        values = block.values
        try:
            packed = _pack(values, inline_limit)
        except BaseException:  # whatever a value's own code raises
            values = _without_unpicklable(report, stage, values)
            packed = _pack(values, inline_limit)
        if not isinstance(packed, Packed):
            try:
                found.append(hold(stage, packed))
            except Exception as error:  # no room in the store, or on the disk behind it
                values = _without_any(report, stage, values, error)
                found.append(_pack(values, PACKED_BYTES))  # type: ignore[arg-type]
        else:
            found.append(packed)
    report.blocks = tuple(found)


def _pack(values: list[Any], inline_limit: int) -> Packed | StoredBlock:
    if not values or sys.getsizeof(values[0]) <= LARGE:
        data, buffers = pickled(values)
        if len(data) <= min(PACKED_BYTES, inline_limit * len(values)) and not buffers:
            return Packed(data, len(data))
        del data, buffers
    return StoredBlock.of([pickled(value) for value in values])


def _without_unpicklable(report: Report, stage: int, values: list[Any]) -> list[Any]:
    values = list(values)
    for slot, value in enumerate(values):
        try:
            dumps(value)
        except BaseException as error:
            values[slot] = None
            culprit = unpicklable(value, error, refused, "result")
            text = f"its result ({type(value).__name__}) cannot be pickled: {culprit}"
            _fail(report, stage, slot, SerializationError(text))
    return values


def _without_any(report: Report, stage: int, values: list[Any], error: Exception) -> list[Any]:
    codes = report.codes[stage] if report.codes else bytes([states.COMPLETED]) * report.count
    for slot, code in enumerate(codes):
        if states.is_success(code):
            _fail(report, stage, slot, error)
    return [None] * len(values)


def _fail(report: Report, stage: int, slot: int, error: Exception) -> None:
    if report.codes is None:
        report.codes = (bytes([states.COMPLETED]) * report.count,) * len(report.blocks)
    codes = [bytearray(row) for row in report.codes]
    codes[stage][slot] = states.FAILED
    report.codes = tuple(bytes(row) for row in codes)
    at = (stage, report.first + slot)
    report.outcomes = [o for o in report.outcomes if (o.stage, o.position) != at]
    info = capture(error, in_process=False)
    report.outcomes.append(Outcome(*at, states.FAILED, info.message, error=info))
