"""Exceptions as they travel and are kept: always as text, as objects where that is safe, never with frames."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import TYPE_CHECKING, Any

from anabranch.core import secrets, states
from anabranch.core.contracts import ErrorInfo
from anabranch.core.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 64 << 10


def capture(
    error: BaseException,
    *,
    in_process: bool,
    dumps: Callable[[Any], bytes] = pickle.dumps,
    loads: Callable[[bytes], Any] = pickle.loads,
) -> ErrorInfo:
    """What is kept of an exception; never raises, whatever the exception does when looked at.

    Texts of secrets that were read in this process are masked; an exception whose pickle holds one
    even so is kept as text only.

    Args:
        in_process: keep the object itself; else pickle it, if it survives the round trip made here.
    """
    name = type(error).__qualname__
    info = ErrorInfo(name, _message(error), _text(error))
    strip(error)
    if in_process:
        info.exception = error
        return info
    try:
        data = dumps(error)
        back = loads(data)
        if secrets.any_known() and secrets.within(data):
            data = dumps(secrets.masked(back))
            back = loads(data)
            if secrets.within(data):
                return info
        # Some libraries' pickling of exceptions loses what __init__ set: then the text is better than the object.
        if type(back).__qualname__ == name and _message(back) == info.message:
            info.pickled = data
    except BaseException:
        info.pickled = None
    return info


def without_frames(error: BaseException) -> BaseException | None:
    """A copy of an exception that goes on to its caller: it can be kept, as none of that one's frames hang on it.

    None where no true copy can be had, and of one whose text holds a secret.
    """
    try:
        twin = copy.copy(error)
        if type(twin) is type(error) and twin is not error and str(twin) == str(error) == _message(error):
            return strip(twin)
    except BaseException:  # whatever its own code does
        pass
    return None


def strip(error: BaseException) -> BaseException:
    """Take the frames off an exception and all it hangs on."""
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        one = stack.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        stack += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            stack += one.exceptions
    return error


def rebuild(info: ErrorInfo, loads: Callable[[bytes], Any] = pickle.loads) -> BaseException:
    """The exception to raise: the user's own, with the worker's traceback as a note, else a RemoteError."""
    error = info.exception
    if error is None and info.pickled is not None:
        try:
            error = loads(info.pickled)
        except BaseException:
            error = None
    if not isinstance(error, BaseException):
        error = RemoteError(info.type_name, info.message, info.traceback)
    if info.traceback and not getattr(error, "__notes__", None):
        error.add_note("traceback where it ran:\n" + info.traceback)
    info.exception = error
    return error


def exception_of(map: Any, index: int) -> BaseException:
    """The exception that stands for an item (of a `MapRun`, or of what a worker knows of one) that did not complete."""
    info = map.errors.get(index)
    if info is not None:
        return rebuild(info)
    return states.failure(map.state(index), upstream=map.codes[index] == states.TRIGGER_FAILED)


def _message(error: BaseException) -> str:
    try:
        return secrets.mask(str(error))[:LONGEST]  # a secret cut in two would not be found
    except BaseException as bad:
        return f"<str() of it raised {type(bad).__name__}>"


def _text(error: BaseException) -> str:
    try:
        found = traceback.TracebackException.from_exception(error, capture_locals=False)
        ours = [f for f in found.stack if "/anabranch/" not in f.filename.replace("\\", "/")]
        if ours:
            found.stack = traceback.StackSummary.from_list(ours)
        return secrets.mask("".join(found.format()))[:LONGEST]
    except BaseException:
        return ""
