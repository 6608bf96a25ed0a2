"""Tables of texts for a screen of fixed cells, and what has changed from one to the next."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = 2  # blank cells between columns
STRIP = "strip"  # the tone of a text with a character for each part of a map
FAILED = "x"  # such a part, in which something failed


class Cell(NamedTuple):
    """A text, and a word for its colour: "", "good", "bad", "live", "warn", "quiet" or "strong"."""

    text: str
    tone: str = ""


class Column(NamedTuple):
    """A column; one without a width takes what the others leave."""

    title: str
    width: int = 0
    right: bool = False


class Row(NamedTuple):
    """Cells under a key that stays with them from one table to the next."""

    key: str
    cells: tuple[Cell, ...]


class Table(NamedTuple):
    """Rows under columns; all columns have a width here."""

    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()


def fitted(columns: Sequence[Column], room: int) -> tuple[Column, ...]:
    """Return columns with widths that fill `room` cells; where it is too small, the last ones are left out.

    Columns without a width share what is left, and get at least 8 cells.
    """
    kept = list(columns)
    while len(kept) > 1 and _least(kept) > room:
        kept.pop()
    free = [n for n, column in enumerate(kept) if not column.width]
    left = room - GAP * (len(kept) - 1) - sum(column.width for column in kept)
    for at, n in enumerate(free):
        share = left // (len(free) - at)
        kept[n] = kept[n]._replace(width=max(share, 1))
        left -= share
    return tuple(kept)


def _least(columns: Sequence[Column]) -> int:
    return GAP * (len(columns) - 1) + sum(column.width or 8 for column in columns)


def changes(old: Table, new: Table) -> list[tuple[int, int, int]] | None:
    """Return for each row that differs (row, first column, last column) of what differs; None where columns differ.

    Rows that only one of the tables has differ as a whole. A row is drawn in one go: a terminal would otherwise get
    its beginning once for each cell.
    """
    if old.columns != new.columns:
        return None
    found = []
    for at in range(max(len(old.rows), len(new.rows))):
        if at >= len(old.rows) or at >= len(new.rows):
            found.append((at, 0, len(new.columns) - 1))
            continue
        before, after = old.rows[at].cells, new.rows[at].cells
        if before != after:
            other = [n for n, cell in enumerate(after) if cell != before[n]]
            found.append((at, other[0], other[-1]))
    return found


def edges(columns: Sequence[Column]) -> list[int]:
    """Return where each column begins."""
    found, at = [], 0
    for column in columns:
        found.append(at)
        at += column.width + GAP
    return found


def placed(text: str, column: Column) -> str:
    """Return a text cut or filled to a column's width, in cells of a terminal; control characters are left out."""
    shown = plain(text)
    if cells(shown) > column.width:
        shown = _cut(shown, column.width - 1) + "…" if column.width > 1 else _cut(shown, column.width)
    blank = " " * (column.width - cells(shown))
    return blank + shown if column.right else shown + blank


def plain(text: str) -> str:
    """Return the text in one line, without characters that would move a terminal's cursor or set its colours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "" for c in text)


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_wide, text))


def pieces(text: str, room: int) -> list[str]:
    """Return the whole text in pieces that take at most `room` cells each; `room` is at least 2."""
    found = []
    while cells(text) > room:
        found.append(_cut(text, room))
        text = text[len(found[-1]) :]
    return [*found, text]


def _wide(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, room: int) -> str:
    used = 0
    for at, char in enumerate(text):
        used += _wide(char)
        if used > room:
            return text[:at]
    return text
