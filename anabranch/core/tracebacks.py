"""Tracebacks of errors that leave for the user's code: their own frames alone.

    cell -> Future.result -> engine ...      shown: the cell; a note on the error has the frames where it ran
    cell -> Task.__call__ -> engine -> fn    shown: the cell, then fn

A function at the border catches the error, calls `hide`, and raises it again by a bare `raise`. That adds no frame of
the function (of Python 3.11 and later), so it is in no traceback either.
"""

from __future__ import annotations

import linecache
import os
import re
from types import TracebackType
from typing import TYPE_CHECKING

from anabranch.core.asking import attribute
from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = __file__.removesuffix(os.path.join("core", os.path.basename(__file__)))
WHERE_IT_RAN = "traceback where it ran:\n"
_FRAME = re.compile(r'^( *)File "([^"\n]+)", line (\d+)(.*)\n((?:\1  .*\n)?)', re.MULTILINE)
_WAITS_END_SO = (AnabranchError, KeyboardInterrupt, TimeoutError)


class Shown:
    """The program's choices for what is shown.

    Attributes:
        full: frames of this package are shown too.
        cell_of: returns the name of the cell of a notebook that a file stands for; "" for other files.
    """

    full: bool = False
    cell_of: Callable[[str], str] | None = None


shown = Shown()


def hide(error: BaseException) -> None:
    """Take the frames of this package off an error that leaves it; not off one that looks like a defect in it."""
    if shown.full:
        return
    frames = []
    frame = error.__traceback__
    while frame is not None:
        frames.append(frame)
        frame = frame.tb_next
    theirs = [f for f in frames if not ours(f.tb_frame.f_code.co_filename)]
    if len(theirs) == len(frames) or (theirs[-1:] != frames[-1:] and not _meant(error)):
        return
    found = None
    for frame in reversed(theirs):
        found = TracebackType(found, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    BaseException.with_traceback(error, found)


def ours(file: str) -> bool:
    """Return whether a file belongs to this package."""
    return file.startswith(OURS)


def _meant(error: BaseException) -> bool:
    """Return whether an error that was raised in this package is a run's failure, or the end of a wait."""
    if isinstance(error, _WAITS_END_SO) or type(error).__module__ == "asyncio.exceptions":
        return True
    notes = attribute(error, "__notes__")
    return type(notes) is list and any(type(note) is str and note.startswith(WHERE_IT_RAN) for note in notes)


def with_cells(text: str) -> str:
    """Return the text of a traceback with the names of cells, and their lines, in place of a kernel's own files."""
    cell_of = shown.cell_of
    if cell_of is None:
        return text

    def named(frame: re.Match[str]) -> str:
        indent, file, line, rest, source = frame.groups()
        cell = cell_of(file)
        if not cell:
            return frame[0]
        source = source or f"{indent}  {linecache.getline(file, int(line)).strip()}\n"  # a worker has no cells
        return f"{indent}{cell}, line {line}{rest}\n{source}"

    return _FRAME.sub(named, text)
