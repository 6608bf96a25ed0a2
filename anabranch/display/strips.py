"""The states of many items as a strip of cells, and the strip as a PNG that needs no library.

    codes, a byte an item --kinds_of--> kinds --cells--> counts of each kind, a tuple a cell --drawn--> PNG
        0  7 7 7 9 7 7 ...              w c c c f c c       (0, 6, 0, 0, 0, 1, 0)

A cell stands for neighbouring items. It is a column in which each kind has its share; one failure among thousands of
items is seen all the same. No kind is told by its colour alone: each has a pattern of its own. Colours are those of
Okabe and Ito. Nothing here grows with the number of items but passes over their bytes in C.
"""

from __future__ import annotations

import functools
import itertools
import struct
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.states import CACHED, NAMES, PENDING, RUNNING, StateType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WIDTH, HEIGHT = 480, 28  # pixels of a strip, at most and always
WIDEST = 16  # pixels of one item's cell, where there are few
SWATCH = 12  # pixels of a side
LEAST = 5  # pixels of what failed in a cell, however small its share
BAD = 4  # kinds from here on have those

Color = tuple[int, int, int]


class Kind(NamedTuple):
    """The look of some states.

    Attributes:
        word: what people read beside the colour.
        over: the colour of the pattern.
        pattern: four rows of four pixels, "#" where the pattern is.
    """

    word: str
    color: Color
    over: Color
    pattern: tuple[str, str, str, str]

    @property
    def css(self) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.color)


# From the bottom of a cell to its top.
KINDS = (
    Kind("completed", (0, 114, 178), (0, 114, 178), ("....", "....", "....", "....")),
    Kind("cached", (86, 180, 233), (0, 90, 140), ("....", "....", "....", "####")),
    Kind("running", (230, 159, 0), (122, 84, 0), ("#...", "....", "..#.", "....")),
    Kind("waiting", (150, 150, 150), (150, 150, 150), ("....", "....", "....", "....")),
    Kind("cancelled", (95, 95, 95), (225, 225, 225), ("....", "#.#.", "....", "....")),
    Kind("crashed", (204, 121, 167), (80, 25, 55), ("#..#", ".##.", ".##.", "#..#")),
    Kind("failed", (213, 94, 0), (255, 243, 232), ("#...", ".#..", "..#.", "...#")),
)
DONE, FROM_CACHE, RUNS, WAITS, TAKEN_BACK, LOST, BROKEN = range(len(KINDS))
_OF_TYPE = {
    StateType.COMPLETED: DONE, StateType.RUNNING: RUNS, StateType.CANCELLED: TAKEN_BACK, StateType.CRASHED: LOST,
    StateType.FAILED: BROKEN,
}  # fmt: skip
_TABLE = bytes(
    FROM_CACHE if code == CACHED else _OF_TYPE.get(NAMES[code][1], WAITS) if code < len(NAMES) else WAITS
    for code in range(256)
)
_OF_NAME = {name: _TABLE[code] for code, (name, _) in enumerate(NAMES)}
_LIKELY = (DONE, WAITS, BROKEN, RUNS, FROM_CACHE, TAKEN_BACK, LOST)  # counted in this order


# -- counting ------------------------------------------------------------------------------------


def number_of(code: int) -> int:
    """Return the place in `KINDS` of the state with this code."""
    return _TABLE[code]


def kind_of(code: int) -> Kind:
    """Return the look of the state with this code."""
    return KINDS[_TABLE[code]]


def counted(counts: Mapping[str, int]) -> list[int]:
    """Return the number of items of each kind, from the number in each state by its name."""
    found = [0] * len(KINDS)
    for name, n in counts.items():
        found[_OF_NAME.get(name, WAITS)] += n
    return found


def kinds_of(codes: bytes | bytearray) -> bytes:
    """Return the kind of each item, a byte an item, from a column of state codes."""
    return bytes(codes.translate(_TABLE))


def with_running(
    codes: bytes | bytearray, ready: Iterable[tuple[int, int]], sent: int, *, code: int = RUNNING
) -> bytearray:
    """Return a column in which the items under way are running; columns of maps have them as pending.

    Args:
        codes: the column.
        ready: ranges of items that are not yet sent.
        sent: the number of items under way. These are the first pending ones that are not ready.
        code: what they become.
    """
    found, at, left = bytearray(codes), 0, sent
    old, new = bytes((PENDING,)), bytes((code,))
    for lo, hi in (*sorted(ready), (len(found), len(found))):
        if left > 0 and at < lo:
            part = found[at:lo]
            here = min(left, part.count(PENDING))
            found[at:lo] = part.replace(old, new, here)
            left -= here
        at = max(at, hi)
    return found


def totals(kinds: bytes) -> tuple[int, ...]:
    """Return the number of items of each kind."""
    found, rest = [0] * len(KINDS), kinds
    for kind in _LIKELY:  # each pass is over what the passes before have left
        if not rest:
            break
        more = rest.translate(None, bytes((kind,)))
        found[kind] = len(rest) - len(more)
        rest = more
    return tuple(found)


def cells(kinds: bytes, most: int = WIDTH) -> list[tuple[int, ...]]:
    """Return the counts of each kind in at most so many cells, which stand for equally many items, but for one."""
    number = min(len(kinds), most)
    edges = [len(kinds) * i // number for i in range(number + 1)] if number else [0]
    return [totals(kinds[lo:hi]) for lo, hi in itertools.pairwise(edges)]


# -- drawing -------------------------------------------------------------------------------------


def heights(counts: Sequence[int], height: int = HEIGHT) -> list[int]:
    """Return the pixels of each kind in a column: its share, at least one, and `LEAST` for what failed."""
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    found = [0] * len(counts)
    for kind, count in enumerate(counts):
        if count:
            found[kind] = max(LEAST if kind > BAD else 1, round(height * count / total))
    found[found.index(max(found))] += height - sum(found)  # the largest share gives what the small ones take
    return found


def drawn(columns: Sequence[Sequence[int]], height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """Return a PNG of cells, side by side from left to right.

    Args:
        columns: counts of each kind, a sequence a cell, as `cells` gives them.
        height: of the strip, in pixels.
        width: of the strip, in pixels, at most; few cells are drawn `WIDEST` wide, with a gap between.
    """
    wide = max(1, min(WIDEST, width // max(1, len(columns))))
    gap = wide >= 6
    found: list[bytes] = []
    stacks = {counts: tuple(heights(counts, height)) for counts in {tuple(counts) for counts in columns}}
    for counts in columns:
        stack, at = stacks[tuple(counts)], len(found)
        found += [_column(stack, x % 4) for x in range(at, at + wide - gap)]
        if gap:
            found.append(bytes(height))
    return _png(found or [bytes(height)], height)


def strip(kinds: bytes) -> bytes:
    """Return a PNG of the kinds of all items, in at most `WIDTH` cells."""
    return drawn(cells(kinds))


@functools.cache
def swatch(kind: int) -> bytes:
    """Return a small PNG of a kind, for a legend."""
    column = [SWATCH if each == kind else 0 for each in range(len(KINDS))]
    return _png([_column(tuple(column), x % 4) for x in range(SWATCH)], SWATCH)


def data_uri(png: bytes) -> str:
    """Return a picture as the `src` of an `<img>`."""
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"


def told(counts: Sequence[int]) -> str:
    """Return ``1,700 completed, 12 failed``, in the order of cells, for readers without the picture."""
    return ", ".join(f"{n:,} {KINDS[kind].word}" for kind, n in enumerate(counts) if n) or "no items"


@functools.lru_cache(4096)
def _column(stack: tuple[int, ...], x: int) -> bytes:
    """Return one column of pixels from top to bottom: entries of the palette, two a kind."""
    height, top = sum(stack), 0
    found = bytearray()
    for kind in reversed(range(len(stack))):
        if stack[kind]:
            rows = KINDS[kind].pattern
            found += bytes(1 + 2 * kind + (rows[y % 4][x] == "#") for y in range(top, top + stack[kind]))
            top += stack[kind]
    assert len(found) == height
    return bytes(found)


_PALETTE = bytes([0, 0, 0, *(part for kind in KINDS for color in (kind.color, kind.over) for part in color)])


def _png(columns: list[bytes], height: int) -> bytes:
    """Return a PNG of columns of palette entries; entry 0 is transparent."""
    pixels, width = b"".join(columns), len(columns)
    # Columns stand one after another: every `height`-th byte is a row. Each row begins with its filter, none.
    rows = b"".join(b"\0" + pixels[y::height] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", _PALETTE), (b"tRNS", b"\0"), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
