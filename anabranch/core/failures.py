"""Exceptions as they travel and are kept: always as text, as objects where that is safe, never with frames."""

from __future__ import annotations

import pickle
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any

from anabranch.core import secrets, states
from anabranch.core.asking import attribute, is_a, passes, text, told
from anabranch.core.errors import RemoteError
from anabranch.core.exceptions import link, links_of, members_of, portable, twin
from anabranch.core.reports import ErrorInfo
from anabranch.core.tracebacks import WHERE_IT_RAN, ours, with_cells

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 64 << 10  # characters
_WORDS = "its words where it ran: "


def capture(
    error: BaseException,
    *,
    in_process: bool,
    dumps: Callable[[Any], bytes] = pickle.dumps,
    loads: Callable[[bytes], Any] = pickle.loads,
) -> ErrorInfo:
    """Return the kept form of an exception; never raises, whatever the exception's own code does.

    Texts of secrets that were read in this process are masked. An exception with such a text in its pickle is kept
    as text only.

    Args:
        in_process: keep the object itself; else pickle it, if it survives the round trip made here.
    """
    info = described(error)
    strip(error)
    if in_process:
        info.exception = error
        return info
    data = portable(error, dumps, loads)
    if data is not None and secrets.any_known() and secrets.within(data):
        data = _masked(data, dumps, loads)
    info.pickled = data
    return info


def described(error: BaseException) -> ErrorInfo:
    """Return an exception as text only; never raises."""
    return ErrorInfo(type(error).__qualname__, _message(error), _text(error))


def without_frames(error: BaseException) -> BaseException | None:
    """Return a copy, without frames, of an exception that is raised to its caller, and of its causes and contexts.

    None where no copy can be made, and for a text that holds a secret.
    """
    twins: dict[int, tuple[BaseException, BaseException]] = {}
    left = [error]
    while left:
        one = left.pop()
        if id(one) not in twins:
            members = [without_frames(member) or member for member in members_of(one)]
            twins[id(one)] = (one, twin(one, members))
            left += [other for other in links_of(one) if other is not None]
    mine = twins[id(error)][1]
    if mine is error or text(mine) != text(error) or text(mine) != _message(error):
        return None
    for one, new in twins.values():
        if new is not one:
            cause, context = (None if other is None else twins[id(other)][1] for other in links_of(one))
            link(new, cause, context, bool(attribute(one, "__suppress_context__", False)))
            BaseException.with_traceback(new, None)
    return mine


def strip(error: BaseException) -> BaseException:
    """Take the frames off an exception and off its causes and contexts."""
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        one = stack.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        BaseException.with_traceback(one, None)  # a class may forbid its instances to be changed
        stack += (*links_of(one), *members_of(one))
    return error


def kept(error: BaseException) -> BaseException:
    """Return an exception for a state to hold: its frames, which would keep locals alive, become a note."""
    found = _text(error) if error.__traceback__ is not None else ""
    strip(error)
    if found:
        _note(error, WHERE_IT_RAN, with_cells(found))
    return error


def leaving(error: BaseException) -> BaseException:
    """Return an exception to raise to its caller, without the frames of this package: they would hold it as well."""
    frames = []
    frame = error.__traceback__
    while frame is not None:
        if not ours(frame.tb_frame.f_code.co_filename):
            frames.append(frame)
        frame = frame.tb_next
    found = None
    for frame in reversed(frames):
        found = TracebackType(found, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return BaseException.with_traceback(error, found) if found is not None else error


def rebuild(info: ErrorInfo, loads: Callable[[bytes], Any] = pickle.loads) -> BaseException:
    """Return an exception to raise: the user's own, with the worker's traceback as a note, else a RemoteError.

    Each call makes a new one, so the kept exception gathers no frames from being raised.
    """
    error = info.exception
    if error is None and info.pickled is not None:
        try:
            error = loads(info.pickled)
        except BaseException as bad:
            if passes(bad):
                raise
        if error is not None and _message(error) != info.message:
            _note(error, _WORDS, info.message)
    if not is_a(error, BaseException):
        error = RemoteError(info.type_name, info.message, info.traceback)
    assert error is not None
    if info.traceback:
        _note(error, WHERE_IT_RAN, with_cells(info.traceback))
    info.exception = error
    found = twin(error)
    return strip(found) if found is error else found  # it has no copy: at least its frames go


def _note(error: BaseException, head: str, said: str) -> None:
    """Add a note once, whatever the exception's own code does with its attributes."""
    notes = attribute(error, "__notes__")
    if type(notes) is not list:
        BaseException.__setattr__(error, "__notes__", [head + said])
    elif not any(type(note) is str and note.startswith(head) for note in notes):
        notes.append(head + said)


def _masked(data: bytes, dumps: Callable[[Any], bytes], loads: Callable[[bytes], Any]) -> bytes | None:
    """Return the pickle without the texts of secrets; None where they cannot be taken out."""
    try:
        error = loads(data)
        for one in (*links_of(error), error):
            error = secrets.masked(one) if one is not None else error
        masked = portable(error, dumps, loads)
    except BaseException as bad:
        if passes(bad):
            raise
        return None
    return None if masked is None or secrets.within(masked) else masked


def exception_of(map: Any, index: int) -> BaseException:
    """Return the exception of an item that did not complete, of a `MapRun` or of a worker's view of one."""
    info = map.errors.get(index)
    if info is not None:
        return rebuild(info)
    return states.failure(map.state(index), upstream=map.codes[index] == states.TRIGGER_FAILED)


def _message(error: BaseException) -> str:
    return secrets.mask(text(error))[:LONGEST]


def _text(error: BaseException) -> str:
    try:
        found = traceback.TracebackException.from_exception(error, capture_locals=False)
        _cut(found, set())
        lines = list(found.format())
    except BaseException as bad:  # the exception's own code, asked for notes and text
        if passes(bad):
            raise
        lines = [*traceback.format_tb(attribute(error, "__traceback__")), told(error)]
    return secrets.mask("".join(lines))[:LONGEST]


def _cut(one: traceback.TracebackException, seen: set[int]) -> None:
    """Take the frames of this package out of a traceback and of those of its causes, where others are left."""
    if id(one) in seen:
        return
    seen.add(id(one))
    theirs = [frame for frame in one.stack if not ours(frame.filename)]
    if theirs:
        one.stack = traceback.StackSummary.from_list(theirs)
    for other in (one.__cause__, one.__context__, *(one.exceptions or ())):
        if other is not None:
            _cut(other, seen)
