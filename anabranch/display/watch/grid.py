"""A table on the screen that draws only those of its cells that have changed."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from anabranch.display.watch.tables import FAILED, GAP, STRIP, Table, cells, changes, edges, placed

if TYPE_CHECKING:
    from rich.style import Style
    from textual import events

_WORDS = ("good", "bad", "live", "warn", "quiet", "strong", "title")


class Grid(Widget):
    """Rows under a line of titles; where they do not fit it shows a part of them, with the cursor's row.

    Args:
        cursor: whether one row is marked, and can be chosen.
        titles: whether the columns' titles are shown.
        follow: whether the last rows are shown until a person scrolls up.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"grid--{word}" for word in (*_WORDS, "cursor")}
    DEFAULT_CSS = """
    Grid { height: 1fr; width: 1fr; }
    Grid > .grid--title { color: #9a9a9a; }
    Grid > .grid--cursor { background: #24435c; }
    Grid > .grid--good { color: #56b4e9; }
    Grid > .grid--bad { color: #ff7f32; text-style: bold; }
    Grid > .grid--live { color: #e69f00; }
    Grid > .grid--warn { color: #e0d13c; }
    Grid > .grid--quiet { color: #9a9a9a; }
    Grid > .grid--strong { text-style: bold; }
    Grid:light > .grid--title { color: #555555; }
    Grid:light > .grid--cursor { background: #b9d7ee; }
    Grid:light > .grid--good { color: #005f94; }
    Grid:light > .grid--bad { color: #a83c00; text-style: bold; }
    Grid:light > .grid--live { color: #7d5200; }
    Grid:light > .grid--warn { color: #665c00; }
    Grid:light > .grid--quiet { color: #555555; }
    """

    class Chosen(Message):
        """A person moved the cursor to the row of this key."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, cursor: bool = False, titles: bool = True, follow: bool = False, id: str = "") -> None:
        super().__init__(id=id or None)
        self.table = Table()
        self.key = ""  # of the cursor's row
        self.moved = False  # a person has moved the cursor
        self.drawn = 0  # parts of rows that were drawn again alone, since the start
        self._cursor = cursor
        self._titles = titles
        self._follows = self._following = follow
        self._top = 0  # the first row that is shown

    @property
    def room(self) -> int:
        """How many rows fit."""
        return max(self.size.height - self._titles, 0)

    def show(self, table: Table, key: str = "") -> None:
        """Show a table; draws the cells that differ from the present one's.

        Args:
            table: its columns are as wide as this widget.
            key: the cursor goes to the row of this key, if it is there.
        """
        found = changes(self.table, table)
        marked, top = self._at(), self._top
        self.table, self.key = table, key or self.key
        if self._following:
            self._top = self._last_top()
        self._keep_in_sight()
        if found is None or top != self._top:
            self.refresh()
            return
        if self._cursor and marked != self._at():
            self._redraw_rows(marked, self._at())
        starts = edges(table.columns)
        for row, low, high in found:
            if self._top <= row < self._top + self.room:
                self.drawn += 1
                width = starts[high] + table.columns[high].width - starts[low]
                self.refresh(Region(starts[low], row - self._top + self._titles, width, 1))

    def move(self, rows: int) -> None:
        """Move the cursor, or what is shown where there is none, by rows; negative is up."""
        if not self._cursor:
            self.scroll_rows(rows)
            return
        if not self.table.rows:
            return
        before, top = self._at(), self._top
        at = min(max((before if before >= 0 else 0) + rows, 0), len(self.table.rows) - 1)
        self.key = self.table.rows[at].key
        self._keep_in_sight()
        if top != self._top:
            self.refresh()
        elif at != before:
            self._redraw_rows(before, at)
        if at != before:
            self.moved = True
            self.post_message(self.Chosen(self.key))

    def scroll_rows(self, rows: int) -> None:
        """Show other rows; at the last ones a grid that follows does so again."""
        top = min(max(self._top + rows, 0), self._last_top())
        self._following = self._follows and top == self._last_top()
        if top != self._top:
            self._top = top
            self.refresh()

    def on_resize(self) -> None:
        """Choose the rows that are shown for the new height."""
        if self._following:
            self._top = self._last_top()
        self._keep_in_sight()
        self.refresh()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.move(-3)

    def on_click(self, event: events.Click) -> None:
        """Choose the row that was clicked."""
        row = self._top + event.y - self._titles
        if self._cursor and event.y >= self._titles and row < len(self.table.rows):
            self.move(row - self._at())

    def render_line(self, y: int) -> Strip:
        """Return one line: of the titles, or of a row."""
        width = self.size.width
        if self._titles and y == 0:
            words = [column.title for column in self.table.columns]
            return self._line(words, ["title"] * len(words), self.rich_style, width)
        row = self._top + y - self._titles
        if row >= len(self.table.rows):
            return Strip.blank(width, self.rich_style)
        line = self.table.rows[row].cells
        style = self.rich_style
        if self._cursor and row == self._at():
            style = style + self.get_component_rich_style("grid--cursor")
        return self._line([cell.text for cell in line], [cell.tone for cell in line], style, width)

    def _line(self, texts: list[str], tones: list[str], style: Style, width: int) -> Strip:
        segments: list[Segment] = []
        for n, (column, text, tone) in enumerate(zip(self.table.columns, texts, tones, strict=True)):
            shown = placed(text, column)
            own = style + self._colour(tone) if tone in _WORDS else style
            segments += [Segment(" " * GAP, style)] * bool(n)
            segments += self._strip(shown, style) if tone == STRIP else [Segment(shown, own)]
        used = sum(cells(segment.text) for segment in segments)
        return Strip([*segments, Segment(" " * max(width - used, 0), style)], max(width, used)).crop(0, width)

    def _strip(self, text: str, style: Style) -> list[Segment]:
        """Return a strip of states: parts with failures have another colour, beside a letter."""
        good, bad = style + self._colour("good"), style + self._colour("bad")
        return [Segment("".join(part), bad if failed else good) for failed, part in groupby(text, FAILED.__eq__)]

    def _colour(self, tone: str) -> Style:
        return self.get_component_rich_style(f"grid--{tone}", partial=True)

    def _at(self) -> int:
        return next((n for n, row in enumerate(self.table.rows) if row.key == self.key), -1)

    def _last_top(self) -> int:
        return max(len(self.table.rows) - self.room, 0)

    def _keep_in_sight(self) -> None:
        """Choose the rows that are shown so that the cursor's is one of them."""
        self._top = min(self._top, self._last_top())
        at = self._at() if self._cursor else -1
        if at >= 0 and self.room:
            self._top = min(max(self._top, at - self.room + 1), at)

    def _redraw_rows(self, *rows: int) -> None:
        for row in rows:
            if self._top <= row < self._top + self.room:
                self.refresh(Region(0, row - self._top + self._titles, self.size.width, 1))


