"""Progress on a terminal and through a pipe, with maps that tests move by hand."""

from __future__ import annotations

import gc
import io
import logging
import re
import sys
import threading
import time
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.states import CACHED, CANCELLED, COMPLETED, FAILED, PENDING
from anabranch.display import meter, progress
from anabranch.display.meter import Meter, Style
from anabranch.display.progress import Board, Plain
from anabranch.display.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeMap:
    """What progress reads of a MapRun."""

    def __init__(self, total: int | None, name: str = "double") -> None:
        self.spec = SimpleNamespace(name=name)
        self.codes = bytearray([PENDING] * (total or 0))
        self.closed = total is not None
        self.done = 0
        self.attempts: dict[int, int] = {}
        self.retried = 0
        self.footprint = SimpleNamespace(held=0, spilled=0)
        self.scope = self
        self.end: list[Callable[[], None]] = []

    @property
    def finished(self) -> bool:
        return self.closed and self.done >= len(self.codes)

    def on_end(self, map: Any, index: None, call: Callable[[], None]) -> None:
        self.end.append(call)

    def go(self, number: int, code: int = COMPLETED) -> None:
        if not self.closed:
            self.codes.extend([PENDING] * number)
        for index in range(self.done, self.done + number):
            self.codes[index] = code
        self.done += number


class Screen(io.StringIO):
    """A terminal: interprets what is written, so that tests see what people see."""

    encoding = "utf-8"

    def __init__(self, tty: bool = True) -> None:
        super().__init__()
        self.tty = tty
        self.rows = [""]
        self.row = self.column = 0

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        super().write(text)
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row, self.column = self.row + 1, 0
                if self.row == len(self.rows):
                    self.rows.append("")
            elif part.endswith("A") and part[0] == "\x1b":
                self.row -= int(part[2:-1])
                assert self.row >= 0
            elif part == "\x1b[J":
                self.rows[self.row] = self.rows[self.row][: self.column]
                del self.rows[self.row + 1 :]
            elif part[0] != "\x1b":
                old = self.rows[self.row]
                self.rows[self.row] = old[: self.column].ljust(self.column) + part + old[self.column + len(part) :]
                self.column += len(part)
        return len(text)

    def seen(self) -> list[str]:
        return [row for row in self.rows if row]


class Bench:
    """A board on a sink with a clock that tests turn; no thread looks."""

    def __init__(self, sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.board = Board(sink, lambda: self.now)
        monkeypatch.setattr(threading.Thread, "start", lambda thread: None)

    def look(self, seconds: float = 0.1) -> None:
        self.now += seconds
        self.board.look()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    found = Screen()
    monkeypatch.delenv("NO_COLOR", raising=False)
    return found


@pytest.fixture
def terminal(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(Terminal(screen, lambda: 100), monkeypatch)


# -- one line ----------------------------------------------------------------------------------------


def reading(**changes: Any) -> meter.Reading:
    given: dict[str, Any] = {
        "name": "double", "done": 512, "total": 2048, "failed": 0, "cached": 0, "cancelled": 0, "bytes_held": 0,
        "bytes_spilled": 0,
        "seconds": 2.0, "rate": 256.0, "finished": False,
    }  # fmt: skip
    return meter.Reading(**{**given, **changes})


def test_line_says_counts_rate_and_time_to_go() -> None:
    text = meter.line(reading(failed=3, bytes_held=12_400_000), Style(120))
    for part in ("double", "512/2,048", "25%", "256/s", "ETA 0:06", "3 failed", "12.4 MB held"):
        assert part in text


def test_line_of_an_unsized_input_has_no_total_and_no_eta() -> None:
    text = meter.line(reading(total=None), Style(120))
    assert "512 items" in text
    assert "ETA" not in text
    assert "%" not in text


@pytest.mark.parametrize("width", [1, 10, 40, 60, 80, 200])
def test_line_never_wraps(width: int) -> None:
    text = meter.line(reading(name="a_very_long_name_of_a_task_that_goes_on", failed=7, bytes_held=10**9), Style(width))
    assert len(text) < width or width == 1


def test_color_only_when_asked() -> None:
    assert "\x1b" in meter.line(reading(failed=1), Style(120, color=True))
    assert "\x1b" not in meter.line(reading(failed=1), Style(120, color=False))
    meter.line(reading(failed=1), Style(120, unicode=False)).encode("ascii")


def test_rate_is_that_of_the_last_seconds() -> None:
    map = FakeMap(10_000)
    one = Meter(map, 0.0)  # type: ignore[arg-type]
    map.go(1000)
    first = one.read(1.0)
    assert first is not None
    assert first.rate == 1000
    for second in range(2, 40):
        map.go(10)
        found = one.read(float(second))
    assert found is not None
    assert found.rate == pytest.approx(10, rel=0.1)
    assert found.eta == pytest.approx((10_000 - map.done) / 10, rel=0.1)


def test_cancelled_items_are_no_speed() -> None:
    done = reading(done=2048, cancelled=1648, seconds=2.0, finished=True)
    assert meter.end_line(done) == "double: 2,048 items in 2.00 s (200/s), 1,648 cancelled"


def test_retried_items_are_counted() -> None:
    assert "2 retried" in meter.line(reading(retried=2), Style(width=120))


def test_failures_and_cached_are_counted() -> None:
    map = FakeMap(10)
    map.go(4)
    map.go(2, FAILED)
    map.go(1, CACHED)
    map.go(1, CANCELLED)
    found = Meter(map, 0.0).read(1.0)  # type: ignore[arg-type]
    assert found is not None
    assert (found.done, found.failed, found.cached, found.cancelled) == (8, 2, 1, 1)
    assert not found.finished


# -- a terminal --------------------------------------------------------------------------------------


def test_live_line_replaces_itself_and_ends_in_one_line(terminal: Bench, screen: Screen) -> None:
    map = FakeMap(100)
    terminal.board.add(map)  # type: ignore[arg-type]
    for _ in range(9):
        map.go(10)
        terminal.look()
    assert len(screen.seen()) == 1
    assert "90/100" in screen.seen()[0]
    map.go(10)
    terminal.look()
    assert screen.seen() == ["double: 100 items in 1.00 s (100/s)"]
    assert screen.column == 0


def test_short_maps_print_nothing(terminal: Bench, screen: Screen) -> None:
    for _ in range(100):
        map = FakeMap(10)
        terminal.board.add(map)  # type: ignore[arg-type]
        terminal.look(0.2)
        map.go(10)
        terminal.look(0.2)
    assert screen.getvalue() == ""
    assert terminal.board._meters == []


def test_several_maps_have_a_line_each_up_to_five(terminal: Bench, screen: Screen) -> None:
    maps = [FakeMap(10, f"task{i}") for i in range(7)]
    for map in maps:
        terminal.board.add(map)  # type: ignore[arg-type]
    terminal.look(0.6)
    assert [row.split()[0] for row in screen.seen()[:4]] == ["task0", "task1", "task2", "task3"]
    assert screen.seen()[4] == "... and 3 more maps"
    for map in maps[1:]:
        map.go(10)
    terminal.look()
    assert [row.split()[0] for row in screen.seen()] == [*(f"task{i}:" for i in range(1, 7)), "task0"]
    maps[0].go(10)
    terminal.look()
    assert len(screen.seen()) == 7


def test_what_others_write_goes_above(terminal: Bench, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    logger = logging.getLogger("test-progress")
    handler = logging.StreamHandler(screen)
    logger.addHandler(handler)
    try:
        map = FakeMap(100)
        terminal.board.add(map)  # type: ignore[arg-type]
        terminal.look(0.6)
        logger.warning("from a log")
        print("from a print", file=sys.stderr)
        assert screen.seen() == ["from a log", "from a print"]
        terminal.look()
        assert len(screen.seen()) == 3
        sys.stderr.write("half a ")
        terminal.look()
        assert screen.seen()[2:] == ["half a "]  # the live line waits for the end of somebody else's
        sys.stderr.write("line\n")
        map.go(100)
        terminal.look()
        assert screen.seen()[2:] == ["half a line", "double: 100 items in 0.90 s (111/s)"]
        assert sys.stderr is screen
        assert handler.stream is screen
    finally:
        logger.removeHandler(handler)


def test_no_color(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    bench = Bench(Terminal(screen, lambda: 100), monkeypatch)
    map = FakeMap(10)
    bench.board.add(map)  # type: ignore[arg-type]
    bench.look(0.6)
    assert "m" not in {code[-1] for code in re.findall(r"\x1b\[\d*[A-Za-z]", screen.getvalue())}


def test_close_leaves_nothing_behind(terminal: Bench, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    map = FakeMap(10)
    terminal.board.add(map)  # type: ignore[arg-type]
    terminal.look(0.6)
    terminal.board.close()
    assert screen.seen() == []
    assert sys.stderr is screen


def test_maps_are_held_weakly(terminal: Bench, screen: Screen) -> None:
    map = FakeMap(10)
    map.scope = None  # type: ignore[assignment]
    gone = weakref.ref(map)
    gc.disable()
    try:
        terminal.board.add(map)  # type: ignore[arg-type]
        terminal.look(0.6)
        map.go(4)
        terminal.look()
        del map
        assert gone() is None
        terminal.look()
    finally:
        gc.enable()
    assert screen.seen() == ["double: 4 items in 0.70 s (5.7/s)"]


def test_a_terminal_that_is_gone_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    bench = Bench(Terminal(screen, lambda: 100), monkeypatch)
    bench.board.add(FakeMap(10))  # type: ignore[arg-type]
    map = FakeMap(10)
    bench.board.add(map)  # type: ignore[arg-type]
    screen.close()
    bench.look(0.6)
    bench.board.close()


# -- a pipe ----------------------------------------------------------------------------------------------


def test_plain_lines_start_every_ten_seconds_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    bench = Bench(Plain(out), monkeypatch)
    map = FakeMap(1000)
    bench.board.add(map)  # type: ignore[arg-type]
    for _ in range(250):
        map.go(3)
        bench.look()
    map.go(250, FAILED)
    bench.look()
    lines = out.getvalue().splitlines()
    assert lines[0] == "double: map of 1,000 items"
    assert [line.split("/1,000")[0] for line in lines[1:-1]] == ["double: 303", "double: 603"]
    assert lines[-1].startswith("double: 1,000 items in 25.1 s")
    assert lines[-1].endswith("250 failed")
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


# -- where it is shown -------------------------------------------------------------------------------------


def test_sink_follows_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MPLBACKEND", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Screen())
    assert isinstance(progress.choose_sink(), Terminal)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress.choose_sink(), Plain)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Screen(tty=False))
    assert isinstance(progress.choose_sink(), Plain)
    monkeypatch.setattr(sys, "stderr", None)
    assert isinstance(progress.choose_sink(), Plain)


def test_a_map_is_shown_as_soon_as_it_is_old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(Plain(io.StringIO()), monkeypatch)
    bench.board.add(FakeMap(10))  # type: ignore[arg-type]
    bench.look(0.3)
    assert bench.board._until_old_enough() == pytest.approx(progress.QUIET_SECONDS - 0.3)
    bench.look(0.3)
    assert bench.board._until_old_enough() == progress.LONGEST_BLINK


# -- the thread --------------------------------------------------------------------------------------------


def test_the_thread_looks_and_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    class Slow:
        """A sink that is slow to show: the thread must look less often."""

        looks = 0

        def show(self, shown: list[Any], now: float) -> None:
            if shown:
                self.looks += 1
                stop = time.thread_time() + 0.004
                while time.thread_time() < stop:
                    pass

        def end(self, which: Any, reading: Any) -> None:
            ended.set()

        def close(self) -> None: ...

    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    sink = Slow()
    board = Board(sink)
    map = FakeMap(10)
    began = time.monotonic()
    board.add(map)  # type: ignore[arg-type]
    map_seen = threading.Event()
    while not map.end:
        map_seen.wait(0.005)
    map_seen.wait(0.7)
    spent = time.monotonic() - began
    assert sink.looks <= spent / 0.4 + 1
    map.go(10)
    for call in map.end:
        call()
    assert ended.wait(5)
