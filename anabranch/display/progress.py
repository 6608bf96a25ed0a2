"""Progress of maps on stderr: live lines on a terminal, plain lines when piped, tqdm in a notebook.

`watch` goes into `Session.watchers`. One daemon thread reads the running maps, at most ten times a second and never
for more than a hundredth of the time; it ends with the last map. Maps are held weakly, futures and values never.
"""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import shutil
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from anabranch.core import forks
from anabranch.display import meter
from anabranch.display.meter import Meter, Style

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.maps import MapRun
    from anabranch.display.meter import Reading

INTERVAL = 0.1  # seconds between two rounds, at least
SHARE = 0.01  # of the time may be spent on rounds
QUIET_SECONDS = 0.5  # shorter maps are not shown
PLAIN_SECONDS = 10.0  # between two plain lines of a map
LINGER_SECONDS = 2.0  # the thread waits so long for the next map
LONGEST_BLINK = 0.5  # seconds; caps the measured cost of a round, because the first one imports rich or tqdm
LINES = 5  # live lines at once


class Sink(Protocol):
    """The contract of a place that shows progress. Called by one thread at a time."""

    def show(self, shown: list[tuple[Meter, Reading]], now: float) -> None:
        """Show the running maps that are old enough."""
        ...

    def end(self, which: Meter, reading: Reading) -> None:
        """End the display of a map that has ended, or that is gone (then with its last reading)."""
        ...

    def close(self) -> None:
        """Clean up; `show` may be called again afterwards."""
        ...


# -- a terminal ------------------------------------------------------------------------------------


class Terminal:
    """Live lines at the bottom of a terminal; other output goes above them."""

    def __init__(self, stream: TextIO, width: Callable[[], int] | None = None) -> None:
        self.stream = stream
        self.color = not os.environ.get("NO_COLOR")
        self.unicode = (getattr(stream, "encoding", "") or "").lower().replace("-", "").startswith("utf")
        self._width = width or (lambda: shutil.get_terminal_size().columns)
        self._lock = threading.RLock()
        self._drawn = 0  # lines on the screen now
        self._mid_line = False  # other output ended within a line
        self._restore: list[Callable[[], None]] = []

    def show(self, shown: list[tuple[Meter, Reading]], now: float) -> None:
        style = Style(self._width(), self.color, self.unicode)
        lines = [meter.line(reading, style) for _, reading in shown[:LINES]]
        if len(shown) > LINES:
            lines[-1] = f"... and {len(shown) - LINES + 1} more maps"
        with self._lock:
            if self._mid_line:
                return
            if lines and not self._restore:
                self._take_over()
            self._write(self._erasure() + "\n".join(lines))
            self._drawn = len(lines)

    def end(self, which: Meter, reading: Reading) -> None:
        with self._lock:
            self._write(self._erasure() + meter.end_line(reading) + "\n")
            self._drawn = 0

    def close(self) -> None:
        with self._lock:
            if self._drawn:
                self._write(self._erasure())
                self._drawn = 0
            while self._restore:
                self._restore.pop()()

    def above(self, stream: TextIO, text: str) -> int:
        """Write other output above the live lines, which come back with the next round."""
        with self._lock:
            if self._drawn:
                self._write(self._erasure())
                self._drawn = 0
            self._mid_line = not text.endswith("\n") if text else self._mid_line
            return stream.write(text)

    def _erasure(self) -> str:
        if not self._drawn:
            return ""
        return "\r" + (f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else "") + "\x1b[J"

    def _write(self, text: str) -> None:
        if not self.unicode:
            text = text.encode("ascii", "replace").decode("ascii")
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the run goes on
            pass

    def _take_over(self) -> None:
        """Send other output to this terminal above the live lines, until `close`."""
        for name in ("stdout", "stderr"):
            old = getattr(sys, name)
            if old is not None and _is_terminal(old):
                new = _Above(self, old)
                setattr(sys, name, new)
                self._restore.append(lambda name=name, old=old, new=new: _put_back(name, old, new))  # type: ignore[misc]
        for handler in _log_handlers():
            stream = handler.stream
            if not isinstance(stream, _Above) and _is_terminal(stream):
                above = _Above(self, stream)
                handler.setStream(above)
                self._restore.append(lambda h=handler, s=stream, a=above: _give_back(h, s, a))  # type: ignore[misc]


class _Above:
    """A stream that writes above the live lines of a terminal, and otherwise behaves like its original."""

    def __init__(self, terminal: Terminal, stream: TextIO) -> None:
        self._terminal = terminal
        self._stream = stream

    def write(self, text: str) -> int:
        return self._terminal.above(self._stream, text)

    def writelines(self, lines: Any) -> None:
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _put_back(name: str, old: TextIO, new: _Above) -> None:
    if getattr(sys, name) is new:  # other code may have replaced it since
        setattr(sys, name, old)


def _give_back(handler: logging.StreamHandler[Any], stream: TextIO, above: _Above) -> None:
    if handler.stream is above:
        handler.setStream(stream)


def _log_handlers() -> Iterator[logging.StreamHandler[Any]]:
    loggers = [g for g in list(logging.root.manager.loggerDict.values()) if isinstance(g, logging.Logger)]
    for handler in {h for logger in (logging.root, *loggers) for h in logger.handlers}:
        # A subclass that reads its stream from `sys` each time finds ours there.
        computed = isinstance(getattr(type(handler), "stream", None), property)
        if isinstance(handler, logging.StreamHandler) and not computed:
            yield handler


# -- a pipe ------------------------------------------------------------------------------------------


class Plain:
    """A line at the beginning of a map, one every ten seconds, one at its end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._next: dict[int, float] = {}

    def show(self, shown: list[tuple[Meter, Reading]], now: float) -> None:
        for which, reading in shown:
            due = self._next.get(id(which))
            if due is None:
                self._write(meter.start_line(reading))
                self._next[id(which)] = which.began + PLAIN_SECONDS
            elif now >= due:
                self._write(meter.plain_line(reading))
                self._next[id(which)] = due + PLAIN_SECONDS

    def end(self, which: Meter, reading: Reading) -> None:
        self._next.pop(id(which), None)
        self._write(meter.end_line(reading))

    def close(self) -> None:
        self._next.clear()

    def _write(self, text: str) -> None:
        try:
            print(text, file=self._stream or sys.stderr, flush=True)
        except (OSError, ValueError):
            pass


# -- a notebook ----------------------------------------------------------------------------------------


class Notebook:
    """A tqdm bar per map, in the cell that made the map."""

    def __init__(self) -> None:
        self._bars: dict[int, Any] = {}

    def show(self, shown: list[tuple[Meter, Reading]], now: float) -> None:
        for which, reading in shown:
            if id(which) not in self._bars:
                self._bars[id(which)] = _Bar(which.context, reading)
            self._bars[id(which)].update(reading)

    def end(self, which: Meter, reading: Reading) -> None:
        bar = self._bars.pop(id(which), None)
        if bar is not None:
            bar.update(reading)
            bar.close()

    def close(self) -> None:
        while self._bars:
            self._bars.popitem()[1].close()


class _Bar:
    """A tqdm bar, used only in the context of its cell, by which the kernel finds the cell."""

    def __init__(self, context: contextvars.Context | None, reading: Reading) -> None:
        self._context = context or contextvars.copy_context()
        self._bar = self._context.run(_tqdm, reading)

    def update(self, reading: Reading) -> None:
        self._bar.total = reading.total
        self._bar.set_postfix_str(", ".join(meter.extras(reading)), refresh=False)
        self._context.run(self._bar.update, reading.done - self._bar.n)

    def close(self) -> None:
        self._context.run(self._bar.close)


def _tqdm(reading: Reading) -> Any:
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # without ipywidgets a text bar is shown
        from tqdm.auto import tqdm
    bar = tqdm(total=reading.total, desc=reading.name, unit="item", mininterval=INTERVAL)
    bar.start_t -= reading.seconds
    return bar


# -- the thread ------------------------------------------------------------------------------------------


class Board:
    """The running maps, the thread that reads them, and the sink that shows them."""

    def __init__(self, sink: Sink, now: Callable[[], float] = time.monotonic) -> None:
        self.sink = sink
        self._now = now
        self._new: list[Meter] = []
        self._meters: list[Meter] = []
        self._shown: set[int] = set()
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._idle_since: float | None = None

    def add(self, map: MapRun) -> None:
        """Show a map until it has ended."""
        with self._lock:
            context = contextvars.copy_context() if isinstance(self.sink, Notebook) else None
            self._new.append(Meter(map, self._now(), context))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="anabranch-progress", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            began, worked = time.monotonic(), time.thread_time()
            try:
                busy = self.look()
            except Exception:
                logging.getLogger("anabranch").debug("progress cannot be shown", exc_info=True)
                busy = False
            # CPU time, not wall time: waiting for the interpreter costs other threads nothing.
            spent = time.thread_time() - worked
            self._idle_since = None if busy else self._idle_since or began
            with self._lock:
                if self._idle_since is not None and began - self._idle_since > LINGER_SECONDS and not self._new:
                    self._thread = self._idle_since = None
                    return
            self._wake.wait(min(max(INTERVAL, spent / SHARE), LONGEST_BLINK))
            self._wake.clear()

    def look(self) -> bool:
        """Make one round; returns whether any map is left."""
        with self._looking:
            with self._lock:
                self._meters += self._new
                self._new.clear()
            now = self._now()
            shown: list[tuple[Meter, Reading]] = []
            for which in list(self._meters):
                reading = which.read(now)
                if reading is None or reading.finished:
                    self._meters.remove(which)
                    late = reading is not None and reading.seconds >= QUIET_SECONDS and id(which) not in self._shown
                    if late and reading is not None:  # it began and ended between two rounds
                        self.sink.show([(which, reading)], now)
                    if late or id(which) in self._shown:
                        self._shown.discard(id(which))
                        last = reading or which.seen
                        if last is not None:
                            self.sink.end(which, last)
                elif reading.seconds >= QUIET_SECONDS:
                    if id(which) not in self._shown:
                        self._shown.add(id(which))
                        self._wake_at_end(which)
                    shown.append((which, reading))
            self.sink.show(shown, now)
            if not shown:
                self.sink.close()
            return bool(self._meters)

    def _wake_at_end(self, which: Meter) -> None:
        """Show the last line of a map at once, before the program's next output."""
        map = which.map()
        if map is not None and map.scope is not None:
            map.scope.on_end(map, None, self._wake.set)

    def close(self) -> None:
        """Make a last round and clean up."""
        try:
            self.look()
            with self._looking:
                self.sink.close()
        except Exception:
            logging.getLogger("anabranch").debug("progress cannot be shown", exc_info=True)


_board: Board | None = None
_board_lock = threading.Lock()


def watch(scope: object, map: MapRun) -> None:
    """Show a new map's progress from now on; a watcher for `Session.watchers`."""
    del scope  # the map leads to it, and is held weakly
    global _board
    if _board is None:
        with _board_lock:
            if _board is None:
                board = Board(choose_sink())
                atexit.register(board.close)
                _board = board
    _board.add(map)


def _forget() -> None:
    """Reset in a forked child, which has neither the thread nor the terminal's lines."""
    global _board, _board_lock
    if _board is not None:
        atexit.unregister(_board.close)
    _board, _board_lock = None, threading.Lock()


forks.in_copies(_forget)


def choose_sink() -> Sink:
    """Return the sink: tqdm in a notebook, live lines on a terminal, plain lines elsewhere."""
    if in_notebook():
        return Notebook()
    if _is_terminal(sys.stderr) and os.environ.get("TERM", "") != "dumb":
        return Terminal(sys.stderr)
    return Plain()


def in_notebook() -> bool:
    """Return whether this is a Jupyter kernel (IPython on a terminal is a terminal)."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
