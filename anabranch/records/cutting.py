"""Batches cut into frames (records/frames.py), each small enough for one request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from anabranch.records.frames import FORM, FRAME_BYTES, MOST_BYTES, MOST_ITEMS, MOST_ROWS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.records.batch import Batch
    from anabranch.records.fencing import Fence

logger = logging.getLogger("anabranch.records")

_BLOCKS = ""  # stands for the query of blocks
_ROOM = 64 << 10  # bytes of a frame beside its rows


class Cut(NamedTuple):
    """A frame as it is sent, and again whenever its answer was lost."""

    seq: int
    body: bytes


class Cutter:
    """Cuts batches into the numbered frames of one writer.

    Args:
        writer: its name, which no other writer has.
        version: of this anabranch.
    """

    def __init__(self, writer: str, version: str) -> None:
        self.writer = writer
        self._version = version
        self._seq = 0
        self._packer = msgpack.Packer(unicode_errors="replace")  # no database stores lone surrogates

    def cut(self, batch: Batch, fence: Fence) -> list[Cut]:
        """Return a batch's rows in frames; those that tell of an end come last."""
        begun = self._seq
        try:
            return self._cut(batch, fence)
        except BaseException:
            self._seq = begun  # else there would be a gap
            raise

    def _cut(self, batch: Batch, fence: Fence) -> list[Cut]:
        found = []
        part = _Part()
        for name, owner, row, items in self._packed(batch):
            if part.full(len(row), items):
                found.append(self._frame(part, fence))
                part = _Part()
            part.add(name, owner, row, items)
        if part.rows:
            found.append(self._frame(part, fence))
        return found

    def _packed(self, batch: Batch) -> Iterator[tuple[str, str, bytes, int]]:
        """Yield the query, the owner, the packed values and the number of items of each row."""
        ends: list[tuple[str, str, bytes, int]] = []
        for name, values, rows in batch.writes():
            shape = SHAPES[name]
            for row in map(values, rows):
                packed = self._row(name, row)
                if packed and shape.ended is not None and row[shape.ended] is not None:
                    ends.append((name, row[shape.owner], packed, 0))
                elif packed:
                    yield name, row[shape.owner], packed, 0
        for block in batch.blocks():
            if packed := self._row(_BLOCKS, block.values):
                yield _BLOCKS, block.map, packed, block.items
        yield from reversed(ends)  # a run stands before its maps; its end comes after theirs

    def _row(self, name: str, row: tuple[Any, ...]) -> bytes:
        """Return a packed row; b"", with a warning, for one that cannot be sent."""
        try:
            packed = bytes(self._packer.pack(row))
        except (OverflowError, TypeError, ValueError) as error:
            self._packer.reset()
            logger.warning("A row of the records was left out: %s: %s: %.200r", type(error).__name__, error, row)
            return b""
        if len(packed) > MOST_BYTES - _ROOM:
            logger.warning("A row of the records was left out: %s of %s bytes", name or "a block", f"{len(packed):,}")
            return b""
        return packed

    def _frame(self, part: _Part, fence: Fence) -> Cut:
        self._seq += 1
        tokens: dict[str, list[Any]] = {run: [token, []] for run, token in fence.tokens.items()}
        for owner in part.owners:
            if (run := fence.runs.get(owner)) in tokens:
                tokens[run][1].append(owner)
        head = {"form": FORM, "anabranch": self._version, "writer": self.writer, "seq": self._seq, "tokens": tokens}
        pack = self._packer
        blocks = part.rows.pop(_BLOCKS, [])
        pieces = [pack.pack_map_header(len(head) + 2), *(pack.pack(word) for pair in head.items() for word in pair)]
        pieces += [pack.pack("rows"), pack.pack_array_header(len(part.rows))]
        for name, rows in part.rows.items():
            pieces += [pack.pack_array_header(2), pack.pack(name), pack.pack_array_header(len(rows)), *rows]
        pieces += [pack.pack("blocks"), pack.pack_array_header(len(blocks)), *blocks]
        return Cut(self._seq, b"".join(pieces))


class _Part:
    """The rows of one frame."""

    def __init__(self) -> None:
        self.rows: dict[str, list[bytes]] = {}
        self.owners: dict[str, None] = {}
        self._bytes = self._count = self._items = 0

    def full(self, more: int, items: int) -> bool:
        """Return whether another row of so many bytes and items is to go into the next frame."""
        much = self._bytes + more > FRAME_BYTES - _ROOM or self._items + items > MOST_ITEMS
        return bool(self._count) and (much or self._count >= MOST_ROWS)

    def add(self, name: str, owner: str, row: bytes, items: int) -> None:
        self.rows.setdefault(name, []).append(row)
        self.owners[owner] = None
        self._bytes += len(row)
        self._count += 1
        self._items += items
