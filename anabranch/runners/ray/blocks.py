"""Values on their way to and in Ray's object store: blocks of pickles, and how a worker encodes its reports.

A block holds several values. Each has a pickle of its own, so that one is read without the others;
all pickles lie in one piece and large buffers apart, which Ray maps instead of copying.
"""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anabranch.runners.transport.packing import pack_blocks, small
from anabranch.runners.transport.value_files import pickled

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.reports import Block, Held, Report
    from anabranch.runners.transport.value_files import Pickled

# What a call returns lies in the store from this size on; below it, in the heap of the process that called
# (Ray's max_direct_call_object_size).
STORED_BYTES = 100 << 10


class StoredBlock(Sequence[Any]):
    """The values of a block, each read when asked for, as a copy of its own."""

    __slots__ = ("_buffers", "_data", "_index")

    def __init__(self, index: array[int], data: Any, *buffers: Any) -> None:
        self._index = index  # for each value: where its pickle ends, and its buffers
        self._data = data
        self._buffers = buffers

    @classmethod
    def of(cls, parts: Sequence[Pickled], *, stored: bool = False) -> StoredBlock:
        """A block of its own memory: the values may change from now on. With `stored` it is as large as the store asks.

        Filling a small block up costs memory of the store, so that the driver's stays flat; it is for those
        of which there are very many.
        """
        index = array("Q")
        end = count = 0
        for data, buffers in parts:
            end += len(data)
            count += len(buffers)
            index.extend((end, count))
        block = cls(index, b"".join([data for data, _ in parts]), *(bytes(b) for _, buffers in parts for b in buffers))
        missing = STORED_BYTES - block.nbytes if stored else 0
        return cls(index, block._data, *block._buffers, bytes(missing)) if missing > 0 else block

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


def encode(report: Report, inline_limit: int, hold: Callable[[int, list[Pickled]], Held]) -> None:
    """Turn the report's values into packed blocks, and give those that are large to `hold` (with their stage).

    Values that cannot be pickled fail, each alone.
    """

    def pack(stage: int, values: list[Any]) -> Block:
        return small(values, inline_limit) or hold(stage, [pickled(value) for value in values])

    pack_blocks(report, pack)
