"""Item columns packed into blobs: 9 bytes an item while a map runs, 3 to 6 once they are sealed.

A `Pack` holds final states and times of many items of one map and one attempt. Consecutive items form *segments*, one
after another in three columns. `encode` writes it *loose* (plain columns, nearly free) or *sealed*: cut into byte
planes, without those of zeros. (Differences and compression would halve that again, for five times the work.)
`decode` reads both. All numbers are little-endian. Nothing here is ever unpickled.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.errors import RecordsError
from anabranch.core.microseconds import joined
from anabranch.core.runs import ItemBlock
from anabranch.core.spent import FIELDS, Spent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SEAL = 65_536  # a pack of so many items is full
_SMALL = 16  # items; smaller blocks take the time base of the block before them
_FORMAT = 3
_BEFORE = 2  # had no column of what was spent,
_SPENT = 4  # which is the fifth
_HEADER = struct.Struct("<BBdQ")  # format, times kept, base, number of items
_COLUMN = struct.Struct("<BBI")  # encoding, bytes a number, bytes of payload
_TRIMMED = struct.Struct("<BI")  # which byte planes follow, numbers
_RAW, _PLANES = range(2)
_CODES = {1: "b", 4: "i", 8: "q"}
_STARTED, _DURATIONS = 1, 2
_COMPLETED = bytes((states.COMPLETED,))
_NOTHING = Spent()
_BIG_ENDIAN = sys.byteorder == "big"
_NARROW = array("i").itemsize
_FITS = 1 << 30
_MOST_TEXT = 4 << 20  # bytes of the names of workers


class Pack:
    """Columns of items of one map and one attempt, in segments of consecutive indexes.

    `times` says which time columns there are (bits: 1 started, 2 durations); packs of different `times` do not mix.
    `codes` None means that all are Completed. The code Pending means that nothing is known of that item.
    Start times are microseconds from a segment's base, which is `base` plus its offset. `spent` has the numbers of
    `core.spent.Spent`, one segment's after the other's.
    """

    __slots__ = (
        "base", "codes", "count", "counts", "durations", "firsts", "offsets", "spent", "started", "times", "who",
        "workers",
    )  # fmt: skip

    def __init__(self, base: float, times: int) -> None:
        self.base = base
        self.times = times
        self.count = 0
        self.codes: bytearray | None = None
        self.started: array[int] = array("i")
        self.durations: array[int] = array("i")
        self.firsts: array[int] = array("q")
        self.counts: array[int] = array("q")
        self.offsets: array[int] = array("q")  # microseconds from base
        self.who: array[int] = array("q")
        self.spent: array[int] = array("q")
        self.workers: list[str] = []

    @property
    def first(self) -> int:
        return min(self.firsts)

    @property
    def last(self) -> int:
        return max(first + count for first, count in zip(self.firsts, self.counts, strict=True)) - 1

    def add(self, block: ItemBlock) -> None:
        """Append a block of this pack's `times`."""
        count = block.count
        if self.workers and self.workers[-1] == block.worker:
            who = len(self.workers) - 1
        else:
            who = self._worker(block.worker)
        offset = round((block.base - self.base) * 1e6)
        started = block.started if self.times & _STARTED else None
        if self.who and self.who[-1] == who and self.firsts[-1] + self.counts[-1] == block.first:
            shift = offset - self.offsets[-1]
            if shift == 0 or started is None:
                self.counts[-1] += count
            elif count <= _SMALL and -_FITS < shift < _FITS:
                started = array("q", [s + shift for s in started])
                self.counts[-1] += count
            else:
                self._segment(block.first, count, offset, who)
        else:
            self._segment(block.first, count, offset, who)
        if block.spent is not None:
            for n, number in enumerate(block.spent, len(self.spent) - FIELDS):
                if number:
                    self.spent[n] += number
        if block.codes is not None or self.codes is not None:
            self._add_codes(block.codes, count)
        self.count += count
        if started is not None:
            self.started = joined(self.started, started)
        if self.times & _DURATIONS and block.durations is not None:
            self.durations = joined(self.durations, block.durations)

    def extend(self, other: Pack) -> None:
        """Append all of another pack of the same `times`."""
        offset = round((other.base - self.base) * 1e6)
        names = [self._worker(name) for name in other.workers]
        self.firsts.extend(other.firsts)
        self.counts.extend(other.counts)
        self.offsets.extend(array("q", [o + offset for o in other.offsets]))
        self.who.extend(array("q", [names[n] for n in other.who]))
        self.spent.extend(other.spent)
        if other.codes is not None or self.codes is not None:
            self._add_codes(other.codes, other.count)
        self.count += other.count
        self.started = joined(self.started, other.started)
        self.durations = joined(self.durations, other.durations)

    def next_index(self, low: int) -> int | None:
        """Return the lowest index of a segment from `low` on."""
        spans = zip(self.firsts, self.counts, strict=True)
        return min((max(first, low) for first, count in spans if first + count > low), default=None)

    def among(self, indexes: Sequence[int]) -> Iterable[int]:
        """Return those of these indexes (sorted) that this pack knows."""
        if self.codes is None and self.count < 2 * len(self.firsts):  # mostly single items, such as ones that ran again
            told = set(self.firsts)
            for first, count in zip(self.firsts, self.counts, strict=True):
                if count > 1:
                    told.update(range(first, first + count))
            return told.intersection(indexes)
        return self._among(indexes)

    def _among(self, indexes: Sequence[int]) -> Iterator[int]:
        position = 0
        for first, count in zip(self.firsts, self.counts, strict=True):
            low = bisect_left(indexes, first)
            found = indexes[low : bisect_left(indexes, first + count, low)]
            if self.codes is None:
                yield from found
            else:
                shift = position - first
                yield from (index for index in found if self.codes[index + shift] != states.PENDING)
            position += count

    def _segment(self, first: int, count: int, offset: int, who: int) -> None:
        self.firsts.append(first)
        self.counts.append(count)
        self.offsets.append(offset)
        self.who.append(who)
        self.spent.extend(_NOTHING)

    def _worker(self, name: str) -> int:
        try:
            return self.workers.index(name)
        except ValueError:
            self.workers.append(name)
            return len(self.workers) - 1

    def _add_codes(self, codes: bytes | bytearray | None, count: int) -> None:
        if codes is not None and codes.count(_COMPLETED) == count:
            codes = None
        if codes is None and self.codes is None:
            return
        if self.codes is None:
            self.codes = bytearray(_COMPLETED * self.count)
        self.codes += _COMPLETED * count if codes is None else codes


def times_of(block: ItemBlock) -> int:
    """Return the bits of a block's time columns; raises RecordsError when its columns are not `count` long."""
    times = 0
    if block.started is not None:
        times = _STARTED
    if block.durations is not None:
        times |= _DURATIONS
    for column in (block.codes, block.started, block.durations):
        if column is not None and len(column) != block.count:
            raise RecordsError(f"a column of {len(column)} in a block of {block.count} items from {block.first}")
    return times


def parted(block: ItemBlock, most: int) -> Iterator[ItemBlock]:
    """Yield a block in parts of so many items at most; what was spent stands with the first."""
    for at in range(0, block.count, most):
        here = slice(at, at + most)
        codes = None if block.codes is None else block.codes[here]
        started = None if block.started is None else block.started[here]
        durations = None if block.durations is None else block.durations[here]
        count, spent = min(most, block.count - at), None if at else block.spent
        yield replace(
            block, first=block.first + at, count=count, codes=codes, started=started, durations=durations, spent=spent
        )


def encode(pack: Pack, *, sealed: bool) -> bytes:
    """Return a pack as bytes: small when `sealed`, made quickly otherwise."""
    columns = (pack.firsts, pack.counts, pack.offsets, pack.who, pack.spent, pack.started, pack.durations)
    parts = [_HEADER.pack(_FORMAT, pack.times, pack.base, pack.count)]
    codes, workers = bytes(pack.codes or b""), json.dumps(pack.workers).encode()
    for text in (codes, workers):
        way = _PLANES if sealed and len(text) > 64 else _RAW
        data = zlib.compress(text, 1) if way else text
        parts += (_COLUMN.pack(way, 1, len(data)), data)
    for column in columns:
        parts += _column(column, sealed and len(column) > 8)
    return b"".join(parts)


def decode(data: bytes) -> Pack:
    """Return the pack that `encode` wrote; raises RecordsError for other bytes."""
    try:
        form, times, base, count = _HEADER.unpack_from(data)
        if form not in (_BEFORE, _FORMAT):
            raise RecordsError(f"a block of item states is in format {form}; this anabranch reads {_FORMAT}")
        texts, at = [], _HEADER.size
        for most in (count, _MOST_TEXT):
            way, _, size = _COLUMN.unpack_from(data, at)
            at += _COLUMN.size + size
            texts.append(_inflated(data[at - size : at], most) if way else data[at - size : at])
        columns: list[array[int]] = []
        for n in range(7):
            if n == _SPENT and form == _BEFORE:
                columns.append(array("q", bytes(8 * FIELDS * len(columns[0]))))
                continue
            column, at = _read_column(data, at, FIELDS * count if n == _SPENT else count)
            columns.append(column)
        pack = Pack(base, times)
        pack.count = count
        pack.codes = bytearray(texts[0]) if texts[0] else None
        pack.workers = json.loads(texts[1])
        pack.firsts, pack.counts, pack.offsets, pack.who = (array("q", c) for c in columns[:4])
        pack.spent = array("q", columns[_SPENT])
        pack.started, pack.durations = columns[5:]
        lengths = {len(c) for c in columns[:4]}, {len(c) for c in columns[5:] if c} | {len(texts[0]) or count, count}
        right = len(pack.spent) == FIELDS * len(pack.firsts) and sum(pack.counts) == count
        if [len(n) for n in lengths] != [1, 1] or not right:
            raise ValueError("its columns are not of one length")
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise RecordsError(f"a block of item states is damaged: {error}") from error
    return pack


def bounded(data: bytes, most: int) -> Pack:
    """Do as `decode`, with bytes of a stranger: raises RecordsError, at little cost, unless any reader can use them."""
    if len(data) >= _HEADER.size and _HEADER.unpack_from(data)[3] > most:
        raise RecordsError(f"a block of more than {most} items")
    try:
        pack = decode(data)
    except RecursionError:
        raise RecordsError("a block of item states is damaged: its names are nested") from None
    if not (
        pack.count
        and math.isfinite(pack.base)
        and pack.times <= _STARTED | _DURATIONS
        and len(pack.started) == (pack.count if pack.times & _STARTED else 0)
        and len(pack.durations) == (pack.count if pack.times & _DURATIONS else 0)
        and min(pack.firsts) >= 0
        and min(pack.counts) > 0
        and type(pack.workers) is list
        and all(type(name) is str for name in pack.workers)
        and min(pack.who) >= 0
        and max(pack.who) < len(pack.workers)
        and (pack.codes is None or max(pack.codes) < len(states.NAMES))
    ):
        raise RecordsError("a block of item states is damaged: its parts do not fit")
    return pack


def _inflated(data: bytes, most: int) -> bytes:
    """Return what was compressed, up to a limit: few bytes may stand for gigabytes."""
    inflating = zlib.decompressobj()
    found = inflating.decompress(data, most)
    if not inflating.eof and inflating.decompress(inflating.unconsumed_tail, 1):
        raise ValueError("its text is longer than any")
    return found


def segments(pack: Pack, map: str, attempt: int) -> Iterator[ItemBlock]:
    """Yield each segment of a pack as columns of its own, its start times from the segment's base."""
    at = 0
    columns = zip(pack.firsts, pack.counts, pack.offsets, pack.who, strict=True)
    for n, (first, count, offset, who) in enumerate(columns):
        here = slice(at, at + count)
        codes = None if pack.codes is None else bytes(pack.codes[here])
        started = pack.started[here] if pack.times & _STARTED else None
        durations = pack.durations[here] if pack.times & _DURATIONS else None
        base, worker = pack.base + offset / 1e6, pack.workers[who]
        spent = Spent(*pack.spent[n * FIELDS : (n + 1) * FIELDS])
        yield ItemBlock(map, first, count, codes, base, started, durations, attempt, worker, spent)
        at += count


def _narrow(column: array[int]) -> array[int]:
    if column.itemsize == _NARROW:
        return column
    try:
        return array("i", column)
    except OverflowError:
        return column


def _column(column: array[int], sealed: bool) -> tuple[bytes, bytes]:
    way = _PLANES if sealed else _RAW
    column = _narrow(column)
    if _BIG_ENDIAN:
        column = column[:]
        column.byteswap()
    data, width = column.tobytes(), column.itemsize
    if sealed:
        data = _trimmed(data, width)
    return _COLUMN.pack(way, width, len(data)), data


def _trimmed(data: bytes, width: int) -> bytes:
    """Cut numbers into byte planes and leave planes of zeros out, which is most of what compression would gain."""
    parts = [b""]
    kept = 0
    for n in range(width):
        plane = data[n::width]
        if plane.count(0) != len(plane):
            kept |= 1 << n
            parts.append(plane)
    parts[0] = _TRIMMED.pack(kept, len(data) // width)
    return b"".join(parts)


def _whole(payload: bytes, width: int, most: int) -> bytes:
    """Undo `_trimmed`, up to `most` numbers: without any plane, that limit alone shows a false count."""
    kept, count = _TRIMMED.unpack_from(payload)
    planes = [n for n in range(width) if kept >> n & 1]
    if kept >> width or count > most or len(payload) != _TRIMMED.size + count * len(planes):
        raise ValueError("its planes are not of one length")
    joined = bytearray(count * width)
    for at, n in enumerate(planes):
        start = _TRIMMED.size + at * count
        joined[n::width] = payload[start : start + count]
    return bytes(joined)


def _read_column(data: bytes, at: int, most: int) -> tuple[array[int], int]:
    way, width, size = _COLUMN.unpack_from(data, at)
    at += _COLUMN.size
    payload = data[at : at + size]
    if len(payload) != size:  # an empty payload would pass for a missing column
        raise ValueError("it ends inside a column")
    if way != _RAW:
        payload = _whole(payload, width, most)
    column = array(_CODES[width], payload)
    if _BIG_ENDIAN:
        column.byteswap()
    return column, at + size
