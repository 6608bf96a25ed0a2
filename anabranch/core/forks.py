"""Forked copies of this process: what the program has set up here is undone in them, and no run ends there.

    process -- os.fork() --> a copy: one thread, and nobody behind the locks, pipes and files that it shares

A copy is the user's: a child of `multiprocessing`, a worker of a pool. It keeps the values that it has; handlers of
signals, drivers and contexts of runs go at once. A function that began in the process may come back in the copy as
well, by its end, an exception or `sys.exit`: that end is the copy's own and not the run's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 1.0  # seconds that a fork waits for other threads to come out of `steady`


class Owned(Protocol):
    """Something that only the process that made it may use."""

    def let_go(self) -> None: ...


_undo: list[Callable[[], object]] = []
_owned: weakref.WeakSet[Owned] = weakref.WeakSet()
_mark: list[int] = []
_steady = threading.Condition()
_unmasked: set[Any] = set()  # signals that the forking thread holds back by itself
_inside = 0  # threads that no fork may take by surprise


class Copied(BaseException):
    """A function of the user's came back in a forked copy of the process that had called it.

    Args:
        value: what it returned.
        error: what it raised instead.
    """

    def __init__(self, value: Any, error: BaseException | None) -> None:
        super().__init__("in a forked copy")
        self.value = value
        self.error = error

    def outcome(self) -> Any:
        """What the function gave: its value, or its exception, raised."""
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            del self.error  # its traceback would hold this frame, and the frame the exception


def mark() -> list[int]:
    """A list that is empty here, and no more in copies that are forked from now on: one look tells where code runs."""
    return _mark


def in_copies(undo: Callable[[], object]) -> None:
    """Call this in each forked copy before anything else runs there; it must not raise or take a lock."""
    _undo.append(undo)


def owned(one: Owned) -> None:
    """In each forked copy `let_go` of it is called, as with `in_copies`, as long as somebody holds it."""
    _owned.add(one)


@contextmanager
def steady() -> Iterator[None]:
    """Around the use of a library with locks of its own, SQLite: a copy would find them taken, and by nobody."""
    global _inside
    with _steady:
        _inside += 1
    try:
        yield
    finally:
        with _steady:
            _inside -= 1
            _steady.notify_all()


class NotHere:
    """In the place of a lock, in a copy: who wants it hears where the things are that it guards."""

    def __init__(self) -> None:
        self.why = (
            f"this belongs to process {os.getppid()}, of which process {os.getpid()} is a forked copy: runs end there; "
            "read the value before you fork, or submit anew in the copy"
        )

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        raise RunnerError(self.why)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None: ...

    def locked(self) -> bool:
        return False


def leave(error: BaseException | None) -> NoReturn:
    """End a copy whose code has nowhere to go back to, as the interpreter would at the end of its main thread."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if code == 1 and error.code != 1:
            sys.stderr.write(f"{error.code}\n")
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, or replaced by something of the user's
            pass
    os._exit(code & 0xFF)


def _hold() -> None:
    global _unmasked
    _steady.acquire()
    _steady.wait_for(lambda: not _inside, PATIENCE)
    # What a copy is told before it has handlers of its own waits until it has: a pool ends its workers early.
    _unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGUSR1))


def _go_on() -> None:
    mask = _unmasked
    _steady.release()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin_copy() -> None:
    global _mark, _steady, _inside
    _mark.append(os.getpid())
    _mark = []
    _steady, _inside = threading.Condition(), 0
    for undo in _undo:
        undo()
    for one in _owned:
        one.let_go()
    signal.pthread_sigmask(signal.SIG_SETMASK, _unmasked)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_begin_copy)
