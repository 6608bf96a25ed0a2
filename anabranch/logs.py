"""Logs of runs: loggers that know their run, one format, limits on size and rate.

    in a task:   get_run_logger() -> Buffer --with the reports--> driver: deliver() -> handlers, record
    in a flow:   get_run_logger() ---------------------------------------^

In the driver a line becomes a `logging` record again, with its place, its `extra` and its exception. Its logger is
"anabranch.task_runs" or "anabranch.flow_runs", so the program's own handlers get it too.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from anabranch.core import colours, forks, secrets, strays
from anabranch.core.context import current_flow, current_task
from anabranch.core.errors import MissingContextError
from anabranch.core.log_lines import ATTEMPT, REMARK, LogLine, Wanted, origin_of, record_of
from anabranch.core.processes import process_token

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_LINE = 64 << 10
LINES_PER_SECOND = 1000
_root = logging.getLogger("anabranch")
_COLOURS = {30: "\x1b[33m", 40: "\x1b[31m", 50: "\x1b[31m"}


class _Formatter(logging.Formatter):
    """``16:08:59.356 | INFO    | message``, warnings and errors coloured on a terminal."""

    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s.%(msecs)03d | %(levelname)-7s | %(message)s", "%H:%M:%S")
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        tint = _COLOURS.get(record.levelno) if self.colour else None
        return f"{tint}{text}\x1b[0m" if tint else text


class _Handler(logging.StreamHandler[Any]):
    """Writes to the present sys.stderr, because notebooks and tests replace it.

    In a notebook, lines below a warning go to sys.stdout: front ends show what is on stderr as an alarm. Where the
    program's root handlers write to the console, this handler does not, so no line comes twice.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if _root.propagate and any(_shows(handler, record) for handler in logging.root.handlers):
            return
        stream, other = sys.stderr, sys.stdout
        if in_kernel(stream):
            if record.levelno < logging.WARNING:
                stream, other = other, stream
            if self.stream is other:  # each has a buffer of its own: lines would change places
                other.flush()
        self.stream = stream
        super().emit(record)


def in_kernel(stream: Any) -> bool:
    """Return whether a stream goes into the cells of a notebook."""
    return type(stream).__module__ == "ipykernel.iostream"


def _shows(handler: logging.Handler, record: logging.LogRecord) -> bool:
    """Return whether this handler of the program writes the record to the console."""
    stream = getattr(handler, "stream", None) if isinstance(handler, logging.StreamHandler) else None
    consoles = (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)
    return stream is not None and record.levelno >= handler.level and any(stream is one for one in consoles)


_set_level = logging.NOTSET  # by us, the last time


def setup_logging(level: str = "INFO") -> None:
    """Give anabranch's loggers their level and their handler, unless the program has set these itself."""
    global _set_level
    if _root.level in (logging.NOTSET, _set_level):
        _root.setLevel(level.upper())
        _set_level = _root.level
    if not _root.handlers:
        handler = _Handler()
        # A notebook tints what is on stderr itself, and yellow cannot be read on that.
        colour = colours.wanted(sys.stderr is not None and sys.stderr.isatty()) and not in_kernel(sys.stderr)
        handler.setFormatter(_Formatter(colour))
        _root.addHandler(handler)


def level() -> int:
    """Return the level below which lines of runs stay in their process."""
    return _root.level or logging.INFO


def wanted() -> Wanted | None:
    """Return the levels that the program's own handlers want from loggers on workers; None without such handlers."""
    root = logging.root
    if not any(type(handler) is not logging.NullHandler for handler in root.handlers):
        return None
    loggers = [(name, one) for name, one in list(root.manager.loggerDict.items()) if isinstance(one, logging.Logger)]
    lower = {name: one.level for name, one in loggers if 0 < one.level < root.level}
    return Wanted(root.level, lower, process_token())


def emit(line: LogLine) -> None:
    """Log a run's line in the driver."""
    name = line.name or ("anabranch.task_runs" if line.map_id else "anabranch.flow_runs")
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(line.level):
        return
    text = f"{line.logger} - {line.message}" if line.logger else line.message
    record = record_of(logger, line.level, text, line.origin)
    record.created = line.when
    record.msecs = line.when % 1 * 1000
    logger.handle(record)


def _straight(lines: list[LogLine], dropped: int) -> None:
    for line in lines:
        emit(line)


# Takes lines of the driver; the session sets its own sink here, which also records them.
_deliver: Callable[[list[LogLine], int], None] = _straight


def stop_delivering(sink: Callable[[list[LogLine], int], None]) -> None:
    """Stop sending lines through `sink`, if it is the present one."""
    if _deliver == sink:
        deliver_to(None)


def deliver_to(sink: Callable[[list[LogLine], int], None] | None) -> None:
    """Send the driver's own lines through `sink` (None: straight to the handlers)."""
    global _deliver
    _deliver = sink or _straight


def _to_handlers() -> None:
    """Reset in a forked copy, where lines are not recorded."""
    deliver_to(None)


forks.in_copies(_to_handlers)


# -- loggers of runs -----------------------------------------------------------------------------


class _RunHandler(logging.Handler):
    """Turns records into lines of one run."""

    def __init__(
        self, who: str, flow_run: str, map: str, item: int, put: Callable[[LogLine], None], *, far: bool = False
    ) -> None:
        super().__init__()
        self.who, self.flow_run, self.map, self.item, self.put, self.far = who, flow_run, map, item, put, far

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            # Masked here, where the secrets are known: the driver may never have read them.
            origin = origin_of(record, far=self.far, cut=cut)
        except Exception:
            self.handleError(record)
            return
        who, text = secrets.mask(self.who), cut(text)
        self.put(LogLine(record.created, record.levelno, who, text, self.flow_run, self.map, self.item, origin=origin))


def cut(text: str) -> str:
    """Return a line's text, masked and then cut: in a cut text half a secret would not be masked."""
    text = secrets.mask(text)
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}... ({len(text):,} characters, cut)"


def get_run_logger() -> logging.Logger:
    """Return the logger of the task run or flow run around this code.

    Raises MissingContextError outside of one. Lines of tasks come to the driver with the reports,
    at most a report's interval late.
    """
    handler, level = _handler_here()
    logger = logging.Logger("anabranch.run", min(level, logging.DEBUG) if level < 20 else level)
    logger.addHandler(handler)
    return logger


def _handler_here() -> tuple[_RunHandler, int]:
    """Return the handler of the run around this code, and the lowest level of its lines."""
    task = current_task.get()
    flow = current_flow.get()
    if task is None and flow is None and (origin := strays.here()) is not None:
        task, flow = origin.task, origin.flow
    if task is not None:
        run = task.run
        put = task.log or (lambda line: _deliver([line], 0))
        far = task.port is not None and not task.port.in_process
        handler = _RunHandler(f"Task run {run.name!r}", run.flow_run_id, run.map_id, run.index, put, far=far)
        level = task.level
    elif flow is not None:
        handler = _RunHandler(f"Flow run {flow.name!r}", flow.id, "", -1, lambda line: _deliver([line], 0))
        level = _root.level
    else:
        raise MissingContextError("get_run_logger() works inside a task or a flow; outside use logging.getLogger()")
    return handler, level


class Buffer:
    """A worker's lines until the next report, at most so many a second, besides one for each attempt that failed."""

    __slots__ = ("_dropped", "_lines", "_lock", "_second", "_this_second")

    def __init__(self) -> None:
        self._lines: list[LogLine] = []
        self._dropped = 0
        self._second = 0
        self._this_second = 0
        self._lock = threading.Lock()

    def append(self, line: LogLine) -> None:
        with self._lock:
            if line.about == ATTEMPT:  # the record has as many failures
                self._lines.append(line)
                return
            second = int(line.when)
            if second != self._second:
                self._second, self._this_second = second, 0
            self._this_second += 1
            if self._this_second > LINES_PER_SECOND:
                self._dropped += 1
            else:
                self._lines.append(line)

    def take(self) -> tuple[list[LogLine], int]:
        if not self._lines and not self._dropped:
            return [], 0
        with self._lock:
            found = (self._lines, self._dropped)
            self._lines, self._dropped = [], 0
            return found


# -- the engine's own lines ----------------------------------------------------------------------


def run_warning(text: str, about: str = REMARK) -> None:
    """Log a warning about the run under way."""
    try:
        handler, level = _handler_here()
    except MissingContextError:
        warn(text)
        return
    if level <= logging.WARNING:
        run = (handler.flow_run, handler.map, handler.item)
        handler.put(LogLine(time.time(), logging.WARNING, secrets.mask(handler.who), cut(text), *run, about=about))


def attempt_failed(text: str) -> None:
    """Log that an attempt failed, and what follows."""
    run_warning(text, ATTEMPT)


def note(text: str) -> None:
    """Log a fact about the program's own run, outside of flows; it is recorded."""
    _deliver([LogLine(time.time(), logging.INFO, "Outside flows", cut(text), "", "", -1)], 0)


def warn(text: str) -> None:
    _root.warning("%s", cut(text))


def tell(text: str) -> None:
    _root.info("%s", cut(text))


def flow_line(run: Any, level: int, text: str) -> None:
    _deliver([LogLine(time.time(), level, f"Flow run {run.name!r}", cut(text), run.id, "", -1)], 0)


def flow_began(run: Any) -> None:
    flow_line(run, logging.INFO, f"Beginning flow run {run.name!r} for flow {run.flow.name!r}")


def flow_changed(run: Any, state: Any) -> None:
    if state.is_final():
        flow_line(run, logging.INFO if state.is_completed() else logging.ERROR, f"Finished in state {state}")
    elif state.is_retrying():
        flow_line(run, logging.WARNING, state.message or str(state))


def flow_warning(run: Any, text: str) -> None:
    flow_line(run, logging.WARNING, text)


def task_finished(map: Any, index: int, name: str) -> None:
    """Log one line for a single task run that has ended."""
    state = map.state(index)
    level = logging.INFO if state.is_completed() else logging.ERROR
    text = cut(f"Finished in state {state}")  # the message of an exception may have any length
    _deliver([LogLine(time.time(), level, f"Task run {name!r}", text, map.header.flow_run_id, map.id, index)], 0)


def strayed(scopes: list[Any]) -> None:
    """Warn each flow run under way, once, that a thread submits outside of any run."""
    for scope in scopes:
        if scope.flow is not None and not scope.told_lost:
            scope.told_lost = True
            flow_warning(
                scope.flow,
                f"a task was called or submitted in thread {threading.current_thread().name!r}, which belongs to "
                "no run: it is no part of this flow run. Where it should be, hand the thread its context: "
                "pool.submit(anabranch.context.carried(function), ...)",
            )
