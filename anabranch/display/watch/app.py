"""The full-screen view: it asks a `Source` at most four times a second, and draws what has changed.

    thread of to_thread: Source.look --> Facts --> `_show` --> Grid.show --> changed cells
    keys: Source.cancel, retry, explain, log, one at a time with the looks
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Footer, Static

from anabranch.display.watch import panels
from anabranch.display.watch.facts import Facts, pause_after
from anabranch.display.watch.grid import Grid
from anabranch.display.watch.pages import Page, Question
from anabranch.display.watch.tables import Cell, Column, Row, Table, placed

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from anabranch.core.runs import FlowRunRow
    from anabranch.display.watch.facts import Source
    from anabranch.display.watch.panels import Heights

MESSAGE_SECONDS = 8.0  # that an answer to a key stays
_PANELS = ("runs", "maps", "failures", "workers", "log")


class WatchApp(App[None]):
    """The view of a record.

    Args:
        source: looks at the record.
        chosen: id or name of the run that is shown first; "": the newest that runs, else the newest.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "anabranch watch"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        ("c", "cancel", "cancel"),
        ("r", "retry", "retry failed"),
        ("e", "explain", "explain"),
        ("l,enter", "log", "log"),
        ("t", "light", "light"),
        ("q", "quit", "quit"),
    ]
    CSS = """
    #top { height: 1; background: $primary-background; color: $text; padding: 0 1; }
    .panel { border: round $primary-darken-1; border-title-color: $text; padding: 0 1; height: 5; }
    #log-panel { height: 1fr; }
    """

    def __init__(self, source: Source, chosen: str = "") -> None:
        super().__init__()
        self.facts = Facts()
        self.looks = 0  # since the start
        self._source = source
        self._chosen = chosen
        self._heights: Heights | None = None
        self._message, self._said_at = "", 0.0
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()  # of the source

    # -- the screen --------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Put the panels one below the other."""
        yield Static("", id="top", markup=False)
        for name in _PANELS:
            grid = Grid(cursor=name == "runs", titles=name not in ("failures", "log"), follow=name == "log", id=name)
            yield Vertical(grid, id=f"{name}-panel", classes="panel")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#log-panel").border_title = "log"
        self.query_one("#failures-panel").border_title = "failures"
        self._watch()

    def on_resize(self) -> None:
        """Lay the panels out anew."""
        self._heights = None
        self.call_after_refresh(self._show)

    @work(exclusive=True)  # type: ignore[untyped-decorator, unused-ignore]
    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            async with self._turn:
                self.facts = await asyncio.to_thread(self._source.look, self._chosen)
            self.looks += 1
            self._show()
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_after(time.monotonic() - began))

    def _show(self) -> None:
        facts = self.facts
        if not facts.now or not self.is_running:
            return
        self._lay_out(panels.heights(self.size.height - 2, facts))
        if isinstance(self.screen, Page):
            self.screen.renew()
        # The panels lie on the first screen, perhaps under a page.
        below = self.screen_stack[0]
        tables: dict[str, Callable[[Facts, int], Table]] = {
            "runs": panels.runs, "maps": panels.maps, "workers": panels.workers,
            "log": lambda facts, width: panels.log(facts.lines, width),
            "failures": lambda facts, width: panels.text_page("\n".join(facts.failures), width),
        }  # fmt: skip
        for name, made in tables.items():
            grid = below.query_one(f"#{name}", Grid)
            if grid.size.width:
                held = grid.moved or (self._chosen and grid.key)  # a key is told to `_chosen` some messages later
                follows = name == "runs" and facts.run is not None and not held
                key = facts.run.id if follows and facts.run is not None else ""
                grid.show(made(facts, grid.size.width), key)
        self._title("runs", panels.runs_title(facts))
        self._title("maps", panels.run_title(facts))
        self._title("workers", panels.workers_title(facts))
        self._top(facts)

    def _lay_out(self, wanted: Heights) -> None:
        if wanted == self._heights:
            return
        self._heights = wanted
        below = self.screen_stack[0]
        for name, height in wanted._asdict().items():
            panel = below.query_one(f"#{name}-panel")
            panel.display = height > 0
            if name != "log":
                panel.styles.height = height
        self.call_after_refresh(self._show)  # with the sizes that this gives

    def _title(self, panel: str, text: str) -> None:
        frame = self.screen_stack[0].query_one(f"#{panel}-panel")
        room = max(frame.size.width - 4, 1)
        text = placed(text, Column("", room)).rstrip().replace("[", "\\[")
        if str(frame.border_title or "") != text:
            frame.border_title = text

    def _top(self, facts: Facts) -> None:
        line = self.screen_stack[0].query_one("#top", Static)
        if self._message and time.monotonic() - self._said_at > MESSAGE_SECONDS:
            self._message = ""
        text = facts.trouble or self._message or facts.place
        wanted = placed(f"anabranch watch   {text}", Column("", max(line.size.width - 2, 1)))
        if str(line.content) != wanted:
            line.update(wanted)

    def say(self, text: str) -> None:
        """Show a sentence in the first line for some seconds."""
        self._message, self._said_at = text, time.monotonic()
        self._top(self.facts)

    # -- keys --------------------------------------------------------------------------------------

    def action_move(self, rows: int) -> None:
        """Choose another run."""
        self.query_one("#runs", Grid).move(rows)

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        """Look at the run that was chosen, now."""
        self._chosen = event.key
        self._wake.set()

    def action_cancel(self) -> None:
        """Ask, then cancel the chosen run."""
        self._ask("Cancel flow run {}?", self._source.cancel)

    def action_retry(self) -> None:
        """Ask, then run what failed in the chosen run once more."""
        self._ask("Run what failed in flow run {} once more?", self._source.retry)

    def action_explain(self) -> None:
        """Show why task runs of the chosen run wait, or ended as they did."""
        if (run := self._of_cursor()) is not None:
            self._explain(run)

    def action_log(self) -> None:
        """Show the log of the chosen run; it follows the run."""
        if (run := self._of_cursor()) is not None:
            self._open_log(run)

    def action_light(self) -> None:
        """Go from dark to light, and back."""
        self.theme = "textual-dark" if self.theme == "textual-light" else "textual-light"

    def _of_cursor(self) -> FlowRunRow | None:
        key = self.query_one("#runs", Grid).key
        run = next((run for run in self.facts.runs if run.id == key), self.facts.run)
        if run is None:
            self.say("there is no run yet")
        return run

    def _ask(self, question: str, act: Callable[[str], str]) -> None:
        run = self._of_cursor()
        if run is None:
            return
        what = Question(question.format(f"{run.name} of {run.flow}"))

        def answered(yes: bool | None) -> None:
            if yes:
                self._act(act, run.id)

        self.push_screen(what, answered)

    @work
    async def _act(self, act: Callable[[str], str], run: str) -> None:
        self.say("...")
        self.say(await self._asked(act, run))
        self._wake.set()

    @work
    async def _explain(self, run: FlowRunRow) -> None:
        text = await self._asked(self._source.explain, run.id)
        self.push_screen(Page(f"explain {run.name}", lambda width: panels.text_page(text, width)))

    @work
    async def _open_log(self, run: FlowRunRow) -> None:
        lines: list[Any] = await self._asked(self._source.log, run.id)

        def made(width: int) -> Table:
            shown = self.facts.lines if self.facts.run is not None and self.facts.run.id == run.id else ()
            lines.extend(new_lines(lines, shown))
            return panels.log_page(lines, width) if lines else _nothing_logged(width)

        self.push_screen(Page(f"log of {run.name}", made, follow=True))

    async def _asked(self, what: Callable[[str], Any], run: str) -> Any:
        async with self._turn:
            return await asyncio.to_thread(what, run)


def new_lines(known: list[Any], last: Any) -> list[Any]:
    """Return those of the last lines of a log that come after the known ones.

    Lines are looked for from the end: of several equal ones the last counts.
    """
    if not known:
        return list(last)
    for at in range(len(last) - 1, -1, -1):
        if last[at] == known[-1]:
            return list(last[at + 1 :])
    return [line for line in last if line.when > known[-1].when]


def _nothing_logged(width: int) -> Table:
    return Table((Column("", width),), (Row("", (Cell("No lines yet.", "quiet"),)),))
