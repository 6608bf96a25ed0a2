"""Progress on a terminal: live lines at its bottom, and other output above them."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

from anabranch.core import colours
from anabranch.display import meter
from anabranch.display.meter import Meter, Style

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.display.meter import Reading


class Terminal:
    """Live lines at the bottom of a terminal; other output goes above them."""

    def __init__(self, stream: TextIO, width: Callable[[], int] | None = None) -> None:
        self.stream = stream
        self.color = colours.wanted(True)
        self.unicode = (getattr(stream, "encoding", "") or "").lower().replace("-", "").startswith("utf")
        self._width = width or (lambda: shutil.get_terminal_size().columns)
        self._lock = threading.RLock()
        self._drawn = 0  # lines on the screen now
        self._mid_line = False  # other output ended within a line
        self._restore: list[Callable[[], None]] = []

    def show(self, shown: list[tuple[Meter, Reading]], now: float) -> None:
        style = Style(self._width(), self.color, self.unicode)
        lines = [meter.line(reading, style) for _, reading in shown[:meter.LINES]]
        if len(shown) > meter.LINES:
            lines[-1] = f"... and {len(shown) - meter.LINES + 1} more maps"
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
            if old is not None and is_terminal(old):
                new = _Above(self, old)
                setattr(sys, name, new)
                self._restore.append(lambda name=name, old=old, new=new: _put_back(name, old, new))  # type: ignore[misc]
        for handler in _log_handlers():
            stream = handler.stream
            if not isinstance(stream, _Above) and is_terminal(stream):
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


def is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
