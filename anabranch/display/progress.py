"""Progress of maps on stderr: live lines on a terminal, plain lines when piped, one output a cell in a notebook.

`watch` goes into `Session.watchers`. One daemon thread reads the running maps, at most ten times a second and never
for more than a hundredth of the time; it ends with the last map. Maps are held weakly, futures and values never.
"""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from anabranch.core import forks
from anabranch.display import meter
from anabranch.display.meter import INTERVAL, Meter
from anabranch.display.notebook import Notebook, in_notebook
from anabranch.display.terminal import Terminal, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.maps import MapRun
    from anabranch.display.meter import Reading

SHARE = 0.01  # of the time may be spent on rounds
QUIET_SECONDS = 0.5  # shorter maps are not shown
PLAIN_SECONDS = 10.0  # between two plain lines of a map
LINGER_SECONDS = 2.0  # the thread waits so long for the next map
LONGEST_BLINK = 0.5  # seconds; caps the measured cost of a round, because the first one imports rich


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
            self._wake.wait(min(max(INTERVAL, spent / SHARE), self._until_old_enough()))
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

    def _until_old_enough(self) -> float:
        """Return the seconds until the first map that is not shown yet is to be, at most `LONGEST_BLINK`."""
        now = self._now()
        left = [which.began + QUIET_SECONDS - now for which in self._meters if id(which) not in self._shown]
        return max(0.01, min([LONGEST_BLINK, *left]))

    def seen(self, map: MapRun) -> Reading | None:
        """Return the last reading of a map that is shown."""
        return next((one.seen for one in tuple(self._meters) if one.map() is map), None)

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


def live_rate(map: MapRun) -> float:
    """Return the rate that a map's live line shows, in items a second; 0.0 where it has none."""
    seen = None if _board is None else _board.seen(map)
    return 0.0 if seen is None or seen.finished else seen.rate


def _forget() -> None:
    """Reset in a forked child, which has neither the thread nor the terminal's lines."""
    global _board, _board_lock
    if _board is not None:
        atexit.unregister(_board.close)
    _board, _board_lock = None, threading.Lock()


forks.in_copies(_forget)


def choose_sink() -> Sink:
    """Return the sink: one output a cell in a notebook, live lines on a terminal, plain lines elsewhere."""
    if in_notebook():
        return Notebook()
    if is_terminal(sys.stderr) and os.environ.get("TERM", "") != "dumb" and not _command_of_a_cell():
        return Terminal(sys.stderr)
    return Plain()


def _command_of_a_cell() -> bool:
    """Return whether a notebook's cell has started this program (`!anabranch run`): its terminal moves no cursor."""
    inline = os.environ.get("MPLBACKEND", "").startswith("module://matplotlib_inline")  # set by each kernel of IPython
    return inline or "JPY_PARENT_PID" in os.environ
