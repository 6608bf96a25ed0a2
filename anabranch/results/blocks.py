"""Many values in one file: those that a worker stores of a map between two reports.

    magic 8 | size of the header 4 | checksum of it 16 | header | pad | value | value | pad, value ...
    magic 8 | size of the header 4 | checksum of it 16 | header | pad | small values as one list

The header has the end and the checksum of each value, so one value is read with two requests: the header's and its
own. A map of a million items makes thousands of files, not a million, which file systems shared by many machines and
stores that charge for requests need. A file is never changed.
"""

from __future__ import annotations

import pickle
import secrets
import struct
import sys
from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgpack

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import SerializationError, StoreError
from anabranch.core.stores import Stored, Written
from anabranch.results.format import ALIGNMENT, laid_out, sizes_of, taken_apart
from anabranch.results.serializers import restore, save

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from anabranch.core.contracts import Clock
    from anabranch.results.serializers import Bytes, Serializer

FIRST = 64 << 10  # bytes of the first request: the header of a thousand values, and the values if they are small
BLOCK = ".block"

_MAGIC = b"ANABRb1\n"
_PREFIX = struct.Struct("<8sI16s")
_CHECK = 8  # bytes of checksum a value


class Files(Protocol):
    """The contract of files for blocks: `LocalFiles` or `RemoteFiles`."""

    @property
    def shown(self) -> str: ...

    def get(self, name: str, start: int, end: int) -> bytes | None: ...

    def put(self, name: str, parts: Sequence[Bytes]) -> None: ...

    def remove_all(self, folder: str) -> None: ...


_COLUMN = "column"  # in place of a serializer's name: one list of all values, None for a missing one
_SCALARS = frozenset({int, float, bool, type(None), complex})
_TEXTS = frozenset({str, bytes})
_SHORT = 256  # characters; a text up to here goes into a list with others


class _Index(NamedTuple):
    """A block's header; a list's has one end, one checksum, and in `sizes` the slots without a value."""

    serializer: str
    created: float
    items: array[int]
    ends: array[int]  # the end of each value, counted from the first one's beginning
    checks: bytes  # zeros: no value
    sizes: dict[int, list[int]]  # of the pickle and of the arrays beside it, for values with arrays
    start: int = 0

    def place(self, slot: int) -> tuple[int, int]:
        """Return the value's place in the file."""
        before = self.ends[slot - 1] if slot else 0
        if slot in self.sizes:
            before += -before % ALIGNMENT
        return self.start + before, self.start + self.ends[slot]


class Blocks:
    """A `BlockStore` in a folder or at an address. Picklable.

    Args:
        files: the place of the blocks.
        serializer: turns values into bytes.
        clock: for the time of writing.
    """

    def __init__(self, files: Files, serializer: Serializer, clock: Clock = SYSTEM) -> None:
        self.files = files
        self.serializer = serializer
        self._clock = clock
        self._last: tuple[str, _Index, bytes] | None = None
        self._list: tuple[str, list[Any] | None] = ("", None)  # the list read last

    def __reduce__(self) -> Any:
        return Blocks, (self.files, self.serializer, self._clock)

    def write(self, place: str, items: Sequence[int], values: Sequence[Any], without: Collection[int] = ()) -> Written:
        """Store values as one file; slot n has the value of `items[n]`.

        Args:
            place: the owner of the values, such as a map's id; the first part of the file's name.
            without: slots without a value.

        Returns:
            The file's name, "" when no value could be saved, and the errors by slot of those that could not.

        Raises:
            StoreError: the file cannot be written; no part of it stays.
        """
        if self.serializer.name == "pickle" and len(without) < len(values) and all(map(_is_small, values)):
            data = pickle.dumps(list(values), protocol=5)
            lacking: dict[int, list[int]] = {slot: [] for slot in without}
            index = (_COLUMN, items, array("q", [len(data)]), _checksum([data], 16), lacking)
            return Written(self._put(place, *index, [data]), {})
        parts: list[Bytes] = []
        ends, checks = array("q"), bytearray()
        sizes: dict[int, list[int]] = {}
        failed: dict[int, SerializationError] = {}
        end = 0
        for slot, value in enumerate(values):
            try:
                saved = None if slot in without else save(self.serializer, value)
            except SerializationError as error:
                failed[slot], saved = error, None
            if saved is None:
                ends.append(end)
                checks += bytes(_CHECK)
                continue
            if saved.buffers:
                parts.append(bytes(-end % ALIGNMENT))
                end += len(parts[-1])
                size, buffers = sizes_of(saved)
                sizes[slot] = [size, *buffers]
            own = laid_out(saved, end)
            parts += own
            end += sum(map(len, own))
            ends.append(end)
            checks += _checksum(own, _CHECK)
        if len(failed) + len(without) == len(values):
            return Written("", failed)
        return Written(self._put(place, self.serializer.name, items, ends, bytes(checks), sizes, parts), failed)

    def _put(
        self, place: str, serializer: str, items: Sequence[int], ends: array[int], checks: bytes,
        sizes: dict[int, list[int]], parts: Sequence[Bytes],
    ) -> str:  # fmt: skip
        name = f"blocks/{place}/{items[0]}-{secrets.token_hex(8)}{BLOCK}"
        fields = [serializer, self._clock.time(), _little(array("Q", items)), _little(ends), checks, sizes]
        header: bytes = msgpack.packb(fields)
        head = _PREFIX.pack(_MAGIC, len(header), _checksum([header], 16)) + header
        self.files.put(name, [head, bytes(-len(head) % ALIGNMENT), *parts])
        return name

    def items(self, name: str) -> list[int]:
        """Return the item of each slot; [] when there is no such block, or a damaged one. Raises StoreError."""
        opened = self._open(name)
        return [] if opened is None else list(opened[0].items)

    def read(self, name: str, slots: Sequence[int]) -> list[Stored | None]:
        """Return values of a block, adjacent ones by one request; None for each missing or damaged one.

        Raises:
            StoreError: the file cannot be read, or a value cannot be rebuilt here.
        """
        opened = self._open(name)
        if opened is None:
            return [None] * len(slots)
        index, begun = opened
        if index.serializer == _COLUMN:
            values = self._values(name, index, begun)
            there = [values is not None and slot < len(values) and slot not in index.sizes for slot in slots]
            return [
                Stored(values[slot], index.created) if has and values is not None else None
                for slot, has in zip(slots, there, strict=True)
            ]
        places = [index.place(slot) if slot < len(index.ends) else (0, 0) for slot in slots]
        low, high = min(place[0] for place in places), max(place[1] for place in places)
        base = 0
        if high > len(begun):
            base, begun = low, self.files.get(name, low, high) or b""
        view = memoryview(begun)
        parts = [view[a - base : b - base] for a, b in places]
        return [self._value(name, index, slot, part) for slot, part in zip(slots, parts, strict=True)]

    def _values(self, name: str, index: _Index, begun: bytes) -> list[Any] | None:
        """Return the whole list of small values; None when it is damaged. The last list is kept."""
        kept = self._list
        if kept[0] == name:
            return kept[1]
        low, high = index.start, index.start + index.ends[0]
        data = begun[low:high] if high <= len(begun) else self.files.get(name, low, high) or b""
        values = pickle.loads(data) if _checksum([data], 16) == index.checks else None
        self._list = (name, values)
        return values

    def _value(self, name: str, index: _Index, slot: int, part: memoryview) -> Stored | None:
        check = index.checks[slot * _CHECK : (slot + 1) * _CHECK]
        if len(check) < _CHECK or _checksum([part], _CHECK) != check:
            return None
        try:
            size, *buffers = index.sizes.get(slot, [len(part)])
            data = bytearray(part) if buffers else part  # arrays built on it are writable
            value = restore(index.serializer, self.serializer, taken_apart(data, size, buffers, 0))
        except SerializationError as error:
            raise StoreError(f"{self.files.shown}/{name}, value {slot}: {error}") from error
        return Stored(value, index.created)

    def drop(self, places: Iterable[str]) -> None:
        """Remove all blocks of these places, if any. Raises StoreError."""
        for place in places:
            self.files.remove_all(f"blocks/{place}")

    def _open(self, name: str) -> tuple[_Index, bytes] | None:
        """Return the index of a block and its first bytes; the last index is kept."""
        last = self._last
        if last is not None and last[0] == name:
            return last[1:]
        data = self.files.get(name, 0, FIRST)
        if data is None or len(data) < _PREFIX.size:
            return None
        magic, size, checksum = _PREFIX.unpack_from(data)
        if magic != _MAGIC:
            return None
        end = _PREFIX.size + size
        if end > len(data):
            data += self.files.get(name, len(data), end) or b""
        header = data[_PREFIX.size : end]
        if _checksum([header], 16) != checksum:
            return None
        serializer, created, items, ends, checks, sizes = msgpack.unpackb(header, strict_map_key=False)
        start = end + -end % ALIGNMENT
        index = _Index(serializer, created, _from_little("Q", items), _from_little("q", ends), checks, sizes, start)
        self._last = (name, index, data)
        return index, data


def _is_small(value: Any) -> bool:
    """Return whether a value may lie in a list with others: it is picklable, short and immutable."""
    kind = type(value)
    return kind in _SCALARS or (kind in _TEXTS and len(value) <= _SHORT)


def _checksum(parts: Sequence[Bytes], size: int) -> bytes:
    checksum = blake2b(digest_size=size)
    for part in parts:
        checksum.update(part)
    return checksum.digest()


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _from_little(kind: str, data: bytes) -> array[int]:
    numbers: array[int] = array(kind)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
