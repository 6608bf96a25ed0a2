"""Threads that the program starts inside runs: before Python 3.14 they do not get the context of their creator.

Such a thread remembers the run in which it was started, and belongs to it until that run ends. Code in other
threads finds its run in `core.context`. A thread that lives longer, or is older (a pool's), needs `carried`.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from anabranch.core.context import FlowContext, TaskContext, current_flow, current_tags, current_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")
_STARTED_IN = "_anabranch_started_in"
ELSEWHERE = object()  # in place of the streams of a run: code in other threads does not draw from them
_start = threading.Thread.start


class Origin(NamedTuple):
    """The run in which a thread was started.

    Attributes:
        task: the context of the task run at that moment.
        chunk: the context that its chunk continues with; for a called task, its own.
    """

    pid: int
    flow: FlowContext | None
    task: TaskContext | None
    chunk: TaskContext | None
    tags: tuple[str, ...]

    @property
    def over(self) -> bool:
        """Return whether the run has ended, or this process is a fork, to which the run does not belong."""
        if self.pid != os.getpid():
            return True
        if self.chunk is not None:
            return self.chunk.over
        return self.flow is None or self.flow.scope is None or self.flow.scope.closed


def follow() -> None:
    """Let the threads of this process remember, from now on, the run in which they are started. Idempotent."""
    global _start
    if not _following:
        _following.append(True)
        _start, threading.Thread.start = threading.Thread.start, _started  # type: ignore[assignment, method-assign]


_following: list[bool] = []


def _started(thread: threading.Thread) -> None:
    if not thread.name.startswith("anabranch"):  # this package's threads serve all runs
        found = _around() or here()
        if found is not None:
            vars(thread)[_STARTED_IN] = found
    _start(thread)


def _around() -> Origin | None:
    flow, task = current_flow.get(), current_task.get()
    if flow is None and task is None:
        return None
    return Origin(os.getpid(), flow, None if task is None else _pinned(task), task, current_tags.get())


def _pinned(task: TaskContext) -> TaskContext:
    """Return a copy of the context: the original goes on to the chunk's next item."""
    return replace(task, run=replace(task.run), draws=ELSEWHERE)


def here() -> Origin | None:
    """Return the run in which this thread was started, where no context variable names it."""
    if current_flow.get() is not None or current_task.get() is not None:
        return None
    found: Origin | None = vars(threading.current_thread()).get(_STARTED_IN)
    return None if found is None or found.over else found


def lost() -> bool:
    """Return whether this thread may belong to a run that is not known."""
    thread = threading.current_thread()
    return thread is not threading.main_thread() and not thread.name.startswith("anabranch")


@contextlib.contextmanager
def adopted(origin: Origin) -> Iterator[None]:
    """Put this thread into the run in which it was started, for the block."""
    tags = tuple(dict.fromkeys((*origin.tags, *current_tags.get())))
    tokens = (current_flow.set(origin.flow), current_task.set(origin.task), current_tags.set(tags))
    try:
        yield
    finally:
        for variable, token in zip((current_flow, current_task, current_tags), tokens, strict=True):
            variable.reset(token)  # type: ignore[attr-defined]


def inside() -> contextlib.AbstractContextManager[None]:
    """Do as `adopted`, if this thread was started in a run and no context variable names it."""
    found = here()
    return contextlib.nullcontext() if found is None else adopted(found)


def carried(fn: Callable[P, R]) -> Callable[P, R]:
    """Return the function bound to the current context; see `anabranch.context.carried`."""
    task = current_task.get()
    around = contextvars.copy_context()
    if task is not None:
        around.run(current_task.set, _pinned(task))
    elif (origin := here()) is not None:
        around.run(_adopt, origin)

    @functools.wraps(fn)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        return around.copy().run(fn, *args, **kwargs)  # a copy, because several threads may call it at once

    return inside


def _adopt(origin: Origin) -> Any:
    current_flow.set(origin.flow), current_task.set(origin.task), current_tags.set(origin.tags)
