"""`anabranch watch`: the view driven by Textual's pilot over a real record."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.cli.watched import RecordSource
from anabranch.core import states
from anabranch.core.errors import RecordsError
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import FlowRunRow, ItemBlock, ItemRow, LogRow, MapRow
from anabranch.display.watch.app import WatchApp
from anabranch.display.watch.grid import Grid
from anabranch.display.watch.pages import Page, Question
from anabranch.records.sqlite import SqliteRecords
from tests.integration.commands import alone, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from textual.pilot import Pilot

WAIT = 30.0
NOW = time.time()
ROW = FlowRunRow(
    "run-1", "etl", "brave-newt", states.RUNNING, "Running", created=NOW - 9, started=NOW - 9, runner="thread",
    pid=os.getpid(), pid_started=process_started(os.getpid()), host=host_name(), heartbeat=NOW,
)  # fmt: skip


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqliteRecords]:
    with SqliteRecords(tmp_path / "records.db") as found:
        yield found


def write(records: SqliteRecords, *rows: Any) -> None:
    records.append(rows)
    assert records.flush(WAIT)


def texts(app: WatchApp) -> str:
    """All that the panels show, line by line."""
    grids = app.screen_stack[0].query(Grid)
    return "\n".join(grid.render_line(y).text for grid in grids for y in range(grid.size.height))


def on_page(app: WatchApp) -> str:
    grid = app.screen.query_one(Grid)
    return "\n".join(grid.render_line(y).text.rstrip() for y in range(grid.size.height))


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    """Wait for something that the view comes to show."""
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, texts(pilot.app)  # type: ignore[arg-type]
        await pilot.pause(0.02)


def driven(
    records: SqliteRecords, home: Path, steps: Callable[[WatchApp, Pilot[None]], Awaitable[None]], chosen: str = "",
    size: tuple[int, int] = (110, 34),
) -> None:  # fmt: skip
    """Drive the view through some steps."""
    app = WatchApp(RecordSource(records, home, "here", records.mark_dead), chosen)

    async def main() -> None:
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.looks > 0)
            await steps(app, pilot)

    asyncio.run(main())


def test_a_run_under_way_is_drawn_as_it_goes_on(records: SqliteRecords, tmp_path: Path) -> None:
    write(records, ROW, MapRow("m", "run-1", "load", "map", 8, NOW))
    write(records, ItemBlock("m", 0, 2, None, NOW, None, None, 1, "w1"), LogRow(NOW, 20, "lg", "begins", "run-1"))

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "2/8" in texts(app))
        assert "brave-newt" in texts(app)
        assert "▇▇▇▇▇▇··" in texts(app)
        maps, log = app.query_one("#maps", Grid), app.query_one("#log", Grid)
        await until(pilot, lambda: "begins" in texts(app))
        whole = [grid.table for grid in (maps, log)]
        drawn = maps.drawn
        write(records, ItemBlock("m", 2, 3, bytes([7, 9, 7]), NOW, None, None, 1, "w1"))
        write(records, ItemRow("m", 3, 1, states.FAILED, message="bad", error_type="ValueError"))
        await until(pilot, lambda: "5/8" in texts(app) and "load: 1 x ValueError: bad (item 3)" in texts(app))
        assert maps.drawn > drawn, "the row that changed was drawn alone"
        assert log.table == whole[1]
        ended = replace(ROW, state=states.FAILED, state_name="Failed", ended=NOW + 1, message="1 of 8 failed")
        write(records, ended, MapRow("m", "run-1", "load", "map", 8, NOW, NOW + 1, {"Completed": 7, "Failed": 1}))
        await until(pilot, lambda: "8/8" in texts(app))
        assert app.query_one("#maps-panel").border_title == "etl (brave-newt) Failed: 1 of 8 failed"

    driven(records, tmp_path, steps)


def test_the_cursor_chooses_a_run_and_stays_with_it(records: SqliteRecords, tmp_path: Path) -> None:
    rows = [
        replace(ROW, id=f"run-{n}", name=f"newt-{n}", created=NOW - n, state=states.COMPLETED, state_name="Completed")
        for n in range(60)
    ]
    write(records, *rows, *(MapRow(f"m{n}", f"run-{n}", f"task-{n}", "map", 1, NOW) for n in range(60)))

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "task-0" in texts(app))
        assert app.query_one("#runs-panel").border_title == "the newest 50 of 60 runs, 0 not ended"
        await pilot.press(*["down"] * 30)
        await until(pilot, lambda: "task-30" in texts(app))
        assert "newt-30" in texts(app)
        write(records, replace(ROW, id="new", name="new-newt", created=NOW + 5))
        await until(pilot, lambda: app.facts.runs[0].id == "new")
        await until(pilot, lambda: "newt-30" in texts(app))
        assert "task-30" in texts(app)
        await pilot.press("up")
        await until(pilot, lambda: "task-29" in texts(app))

    driven(records, tmp_path, steps)


def test_a_look_that_ends_between_a_key_and_its_message_leaves_the_cursor(
    records: SqliteRecords, tmp_path: Path
) -> None:
    write(records, *(replace(ROW, id=f"run-{n}", name=f"newt-{n}", created=NOW - n) for n in range(3)))

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "newt-2" in texts(app))
        grid = app.query_one("#runs", Grid)
        for n in (1, 2):
            app.action_move(1)
            app._show()  # what the grid has posted waits in the queue of messages
            assert grid.key == f"run-{n}"

    driven(records, tmp_path, steps)


def test_a_named_run_is_shown_first_however_old_it_is(records: SqliteRecords, tmp_path: Path) -> None:
    rows = [replace(ROW, id=f"run-{n}", name=f"newt-{n}", created=NOW - n) for n in range(60)]
    write(records, *rows, MapRow("m", "run-59", "old-task", "map", 1, NOW))

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "old-task" in texts(app) and "newt-59" in texts(app))

    driven(records, tmp_path, steps, "newt-59")


def test_cancel_asks_first(records: SqliteRecords, tmp_path: Path) -> None:
    write(records, ROW)

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(app.screen, Question))
        assert records.cancel_requested(["run-1"]) == set()
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: bool(records.cancel_requested(["run-1"])))
        await until(pilot, lambda: "is asked to stop" in str(app.query_one("#top").render()))

    driven(records, tmp_path, steps)


def test_explain_and_log_open_pages(records: SqliteRecords, tmp_path: Path) -> None:
    write(records, ROW, MapRow("m", "run-1", "load", "map", 8, NOW))
    write(records, ItemRow("m", 3, 1, states.FAILED, message="bad", error_type="ValueError", reason="budget/user"))
    write(records, *(LogRow(NOW + n, 20, "lg", f"line {n}", "run-1") for n in range(90)))

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "line 89" in texts(app))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, Page) and "ValueError: bad" in on_page(app))
        await pilot.press("escape", "l")
        await until(pilot, lambda: isinstance(app.screen, Page) and "line 89" in on_page(app))
        assert "line 0" not in on_page(app).splitlines()[0]
        write(records, LogRow(NOW + 99, 40, "lg", "the newest", "run-1"))
        await until(pilot, lambda: "the newest" in on_page(app))
        await pilot.press("home")
        await until(pilot, lambda: "line 0" in on_page(app))
        write(records, LogRow(NOW + 100, 40, "lg", "newer still", "run-1"))
        await until(pilot, lambda: bool(app.facts.lines) and app.facts.lines[-1].message == "newer still")
        await pilot.pause()
        assert "line 0" in on_page(app), "where a person reads, nothing moves"
        await pilot.press("end")
        await until(pilot, lambda: "newer still" in on_page(app))
        await pilot.press("q", "q")

    driven(records, tmp_path, steps)


def test_a_retry_that_cannot_be_made_says_why(records: SqliteRecords, tmp_path: Path) -> None:
    write(records, replace(ROW, name="brave/newt", state=states.FAILED, state_name="Failed", ended=NOW))

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "brave/newt" in texts(app))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: "retry: " in str(app.query_one("#top").render()))
        place = tmp_path / "retries" / f"{ROW.id}.log"
        assert "brave/newt" in place.read_text() or "no flow run" in place.read_text()
        assert place.stat().st_mode & 0o777 == 0o600

    driven(records, tmp_path, steps)


def test_a_record_that_cannot_be_read_is_told_and_the_view_goes_on(records: SqliteRecords, tmp_path: Path) -> None:
    write(records, ROW)
    away = pytest.MonkeyPatch()

    def refuse(**_: object) -> Any:
        raise RecordsError("the server is away")

    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "brave-newt" in texts(app))
        with away.context() as patch:
            patch.setattr(records, "flow_runs", refuse)
            await until(pilot, lambda: "the server is away" in str(app.query_one("#top").render()))
            assert "brave-newt" in texts(app)
        await until(pilot, lambda: "the server is away" not in str(app.query_one("#top").render()))

    driven(records, tmp_path, steps)


def test_an_empty_record_and_a_small_screen(records: SqliteRecords, tmp_path: Path) -> None:
    async def steps(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("c", "e", "l", "r", "down", "up", "t")
        assert app.query_one("#runs-panel").border_title == "0 runs, 0 not ended"
        await pilot.resize_terminal(20, 6)
        write(records, ROW)
        await until(pilot, lambda: "brave" in texts(app))

    driven(records, tmp_path, steps)


def test_without_a_terminal_or_the_extra_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(tmp_path, monkeypatch)
    assert "watch needs a terminal" in run("watch", code=1).stderr
    code = """
import pty, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "textual":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
sys.stdin.isatty = sys.stdout.isatty = lambda: True
from anabranch.cli import main
main(["watch"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TERM": "xterm"}, timeout=WAIT
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: watch needs Textual: pip install 'anabranch[watch]'",
        "(`anabranch explain MissingExtraError` says more)",
    ]
