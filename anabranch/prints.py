"""`log_prints`: runs that ask for it log the output of `print`, as long as they run.

print(...)                    a line of the run
print(..., file=...)          prints as usual, unless it is the standard output or error that the run began with
with redirect_stdout(...):    prints as usual: the redirecting code gets the text
sys.stdout.write, children    print as usual
"""

from __future__ import annotations

import builtins
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from anabranch.core import forks
from anabranch.logs import get_run_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

_Streams = tuple[Any, Any]
Started = Token[_Streams | None] | None
# Standard output and error at the begin of the run; None: the run does not log its prints.
_printing: ContextVar[_Streams | None] = ContextVar("anabranch_log_prints", default=None)
_real_print = builtins.print  # kept from the import: a later replacement may call `_print`, and would not end


class _Place:
    """The replacement of `print` in this process, in place while any run logs its prints."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs = 0
        self.before: Any = _real_print

    def begin(self) -> None:
        with self.lock:
            self.runs += 1
            if builtins.print is not _print:  # for the first run, and after Ray has set its own
                self.before, builtins.print = builtins.print, _print

    def end(self) -> None:
        with self.lock:
            self.runs -= 1
            if self.runs == 0 and builtins.print is _print:
                builtins.print = self.before


_place = _Place()


def _forget() -> None:
    """Reset in a fork, which is no run: its lines would go nowhere."""
    global _place
    if builtins.print is _print:
        builtins.print = _place.before
    _place = _Place()
    _printing.set(None)


forks.in_copies(_forget)


def _print(
    *values: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
) -> None:
    streams = _printing.get()
    if streams is None or not _wanted(streams, file):
        _real_print(*values, sep=sep, end=end, file=file, flush=flush)
        return
    text = (" " if sep is None else sep).join(map(str, values))
    begun = _printing.set(None)  # a log handler of the user's may print
    try:
        get_run_logger().info("%s", text, stacklevel=2)
    finally:
        _printing.reset(begun)


def _wanted(streams: _Streams, file: Any) -> bool:
    """Return whether the run logs this print: not a redirected one, and not one of a debugger."""
    target = sys.stdout if file is None else file
    if not any(target is stream for stream in streams):
        return False
    return sys._getframe(2).f_globals.get("__name__") not in ("pdb", "bdb", "cmd")


def start_prints(log: bool) -> Started:
    """Let `print` log (True) or print (False) in this context; returns the argument for `end_prints`."""
    if log == (_printing.get() is not None):
        return None
    if not log:
        return _printing.set(None)
    _place.begin()
    return _printing.set((sys.stdout, sys.stderr))


def end_prints(started: Started) -> None:
    """Undo `start_prints`."""
    if started is None:
        return
    logged = _printing.get() is not None
    _printing.reset(started)
    if logged:
        _place.end()


@contextmanager
def prints(log: bool) -> Iterator[None]:
    """Let `print` log (True) or print (False) in this block; other contexts are not affected."""
    started = start_prints(log)
    try:
        yield
    finally:
        end_prints(started)
