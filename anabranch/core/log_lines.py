"""Log lines of runs as they travel: the text, and the record's place, `extra` and exception."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core import secrets
from anabranch.core.asking import shown

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = 16 << 10  # characters of a line's `extra`, where it leaves its process
ATTEMPT, REMARK = "attempt", "remark"  # what lines of the engine are about, see `LogLine`
DEEPEST = 4  # levels of nested collections
_USUAL = frozenset(vars(logging.makeLogRecord({})))
_LATER = {"message", "asctime", "taskName"}  # set by formatters, and by later Pythons
_formatter = logging.Formatter()


class Origin(NamedTuple):
    """The place where a line was logged, its `extra`, its stack and its exception.

    Attributes:
        trace: the exception as text.
        error: the exception as `logging` has it; only inside the process.
    """

    path: str
    line: int
    function: str | None
    extra: dict[str, Any] | None = None
    trace: str = ""
    stack: str | None = None
    error: Any = None


class Wanted(NamedTuple):
    """The lowest levels that a program's handlers take: of its root logger, and of loggers with a lower one.

    Attributes:
        process: the token of the process that has the handlers.
    """

    root: int
    names: dict[str, int]
    process: str


class LogLine(NamedTuple):
    """A line logged in a run.

    Attributes:
        logger: the name of the run, as lines show it.
        origin: None for lines of the engine.
        name: the logger's name, if it is the program's own: such a line belongs to no run.
        about: what the engine says of a task run: `ATTEMPT`, an attempt that failed, or `REMARK`; "" for other lines.
    """

    when: float
    level: int
    logger: str
    message: str
    flow_run_id: str
    map_id: str
    item: int
    origin: Origin | None = None
    name: str = ""
    about: str = ""

    @property
    def whole(self) -> str:
        """The text, and the exception's."""
        trace = self.origin.trace if self.origin is not None else ""
        return f"{self.message}\n{trace}" if trace else self.message


def origin_of(record: logging.LogRecord, *, far: bool, cut: Callable[[str], str]) -> Origin:
    """Return the origin of a record's line.

    Args:
        far: the line leaves this process: an exception becomes text; of `extra`, plain data stays and other objects
            become their repr.
        cut: masks secrets in a text, and shortens it.
    """
    values = vars(record)
    error = record.exc_info
    trace = record.exc_text or (_formatter.formatException(error) if error and error[0] else "")
    extra = stack = None
    if len(values) > len(_USUAL):
        extra = {name: value for name, value in values.items() if name not in _USUAL and name not in _LATER}
        if far:
            extra = _Plain(cut).dict(extra, DEEPEST)
        elif secrets.any_known():
            extra = _masked(extra, cut)
    if record.stack_info:
        stack = cut(record.stack_info)
    if not (extra or trace or stack):
        return Origin(record.pathname, record.lineno, record.funcName)
    return Origin(
        record.pathname, record.lineno, record.funcName, extra or None, cut(trace) if trace else "", stack,
        None if far else error,
    )  # fmt: skip


class _Plain:
    """Makes plain data of values, masked and of a bounded size; other objects become their repr."""

    def __init__(self, cut: Callable[[str], str]) -> None:
        self.cut = cut
        self.room = ROOM

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self.room -= 8
        if kind in (float, bool, type(None)) or (kind is int and value.bit_length() <= 64):
            return value
        if depth and kind in (list, tuple):
            return kind(self.value(one, depth - 1) for one in value if self.room > 0)
        if depth and kind is dict:
            return self.dict(value, depth - 1)
        text = self.cut(value if kind is str else shown(value))
        text = text if len(text) <= self.room else f"{text[: max(0, self.room)]}..."
        self.room -= len(text)
        return text

    def dict(self, values: dict[Any, Any], depth: int) -> dict[Any, Any]:
        return {self.value(name, 0): self.value(one, depth) for name, one in values.items() if self.room > 0}


def _masked(value: Any, mask: Callable[[str], str], depth: int = DEEPEST) -> Any:
    """Return plain collections with masked texts; other objects stay as they are."""
    kind = type(value)
    if kind is str:
        return mask(value)
    if depth and kind in (list, tuple):
        return kind(_masked(one, mask, depth - 1) for one in value)
    if depth and kind is dict:
        return {name: _masked(one, mask, depth - 1) for name, one in value.items()}
    return value


def record_of(logger: logging.Logger, level: int, text: str, origin: Origin | None) -> logging.LogRecord:
    """Return the log record that a line was made of."""
    if origin is None:
        return logger.makeRecord(logger.name, level, "", 0, text, (), None)
    place = (logger.name, level, origin.path, origin.line, text, (), origin.error, origin.function)
    record = logger.makeRecord(*place, sinfo=origin.stack)
    if origin.extra:  # over anything that the program's record factory has set: the record had these values
        vars(record).update(origin.extra)
    if origin.trace:
        record.exc_text = origin.trace
    return record


def masked(line: LogLine) -> LogLine:
    """Return the line with the secrets masked that only this process knows."""
    origin = line.origin
    if origin is not None and (origin.trace or origin.extra):
        extra = _masked(origin.extra, secrets.mask) if origin.extra else None
        origin = origin._replace(extra=extra, trace=secrets.mask(origin.trace))
    return line._replace(logger=secrets.mask(line.logger), message=secrets.mask(line.message), origin=origin)
