"""Forked copies of this process: anabranch's set-up is undone in them, and their end ends no run.

process -- os.fork() --> a copy: one thread, without the threads that own its locks, pipes and files

A copy is the user's: a child of `multiprocessing`, a worker of a pool. It keeps the values that it has; handlers of
signals, drivers and contexts of runs go at once. A function that began in the process may return in the copy as well,
by its end, an exception or `sys.exit`: that end belongs to the copy and not to the run.
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

PATIENCE = 1.0  # seconds that a fork waits for other threads to leave `steady`


class Owned(Protocol):
    """An object that only its own process may use."""

    def let_go(self) -> None: ...


_undo: list[Callable[[], object]] = []
_owned: weakref.WeakSet[Owned] = weakref.WeakSet()
_mark: list[int] = []
_steady = threading.Condition()
_unmasked: set[Any] = set()  # signals that the forking thread blocks itself
_inside = 0  # threads inside `steady`, for which a fork waits


class Copied(BaseException):
    """Raised when a user's function returns in a forked copy of the process that called it.

    Args:
        value: the return value.
        error: the exception in place of one.
    """

    def __init__(self, value: Any, error: BaseException | None) -> None:
        super().__init__("in a forked copy")
        self.value = value
        self.error = error

    def outcome(self) -> Any:
        """Return the function's value, or raise its exception."""
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            del self.error  # its traceback would hold this frame, and the frame the exception


def mark() -> list[int]:
    """Return a list that is empty here and filled in later forked copies, so that one look tells them apart."""
    return _mark


def in_copies(undo: Callable[[], object]) -> None:
    """Call this in each forked copy before anything else runs there; it must not raise or take a lock."""
    _undo.append(undo)


def owned(one: Owned) -> None:
    """Call its `let_go` in each forked copy, as with `in_copies`, as long as the object lives."""
    _owned.add(one)


@contextmanager
def steady() -> Iterator[None]:
    """Hold forks off while a library with locks of its own (SQLite) is in use: a copy would find them held for ever."""
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
    """Stands in place of a lock in a copy: taking it raises an error that names the process of the guarded objects."""

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
    """End a copy that has no caller to return to, as the interpreter ends at the end of its main thread."""
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
        except Exception:  # closed, or replaced by the user
            pass
    os._exit(code & 0xFF)


def _hold() -> None:
    global _unmasked
    _steady.acquire()
    _steady.wait_for(lambda: not _inside, PATIENCE)
    # A signal to a copy waits until the copy has its own handlers: a pool may end its workers early.
    _unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))


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
