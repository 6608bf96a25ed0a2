"""The pages that keys open over the view: a text, a log, a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from anabranch.display.watch.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from anabranch.display.watch.tables import Table


class Page(Screen[None]):
    """A table over the whole screen, with a title.

    Args:
        title: in the frame.
        made: returns the table for a width.
        follow: whether the end is shown.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "back", "back"),
        ("up,k", "move(-1)", "up"),
        ("down,j", "move(1)", "down"),
        ("pageup", "page(-1)", "page up"),
        ("pagedown,space", "page(1)", "page down"),
        ("home,g", "move(-1000000)", "start"),
        ("end,G", "move(1000000)", "end"),
    ]
    DEFAULT_CSS = """
    Page > Vertical { border: round $primary; border-title-color: $text; padding: 0 1; }
    """

    def __init__(self, title: str, made: Callable[[int], Table], *, follow: bool = False) -> None:
        super().__init__()
        self.made = made
        self._frame = Vertical(Grid(titles=False, follow=follow))
        self._frame.border_title = title

    def compose(self) -> ComposeResult:
        """Put the frame over the keys."""
        yield self._frame
        yield Footer(show_command_palette=False)

    def on_resize(self) -> None:
        """Fit the lines to the new width."""
        self.call_after_refresh(self.renew)

    def renew(self) -> None:
        """Show the table as it is now."""
        grid = self.query_one(Grid)
        if grid.size.width:
            grid.show(self.made(grid.size.width))

    def action_move(self, rows: int) -> None:
        """Scroll by rows."""
        self.query_one(Grid).scroll_rows(rows)

    def action_page(self, pages: int) -> None:
        """Scroll by pages."""
        grid = self.query_one(Grid)
        grid.scroll_rows(pages * max(grid.room - 1, 1))

    def action_back(self) -> None:
        """Return to the view."""
        self.dismiss()


class Question(ModalScreen[bool]):
    """A question that y or n answers."""

    BINDINGS: ClassVar[list[BindingType]] = [("y,enter", "answer(True)", "yes"), ("n,escape,q", "answer(False)", "no")]
    DEFAULT_CSS = """
    Question { align: center middle; }
    Question > Static { width: auto; max-width: 80%; height: auto; padding: 1 2; border: round $warning;
        background: $surface; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Put the question in the middle."""
        yield Static(f"{self._text}\n\n   y  yes      n  no", markup=False)

    def action_answer(self, yes: bool) -> None:
        """Give the answer."""
        self.dismiss(yes)
