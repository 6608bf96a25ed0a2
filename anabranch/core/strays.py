"""Threads that the program starts inside runs: Python (before 3.14) does not give them the context of who starts them.

Such a thread belongs to the run in which it was started, as long as that runs: each thread remembers it. Which run
other code is at, `core.context` knows; a thread that lives longer, or is older (a pool's), needs `carried`.
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
_start = threading.Thread.start


class Origin(NamedTuple):
    """The run in which a thread was started.

    Attributes:
        task: the task's run as it was then.
        chunk: the context that its chunk goes on with; of a called task, its own.
    """

    pid: int
    flow: FlowContext | None
    task: TaskContext | None
    chunk: TaskContext | None
    tags: tuple[str, ...]

    @property
    def over(self) -> bool:
        """Whether the run has ended, or is another process's: this is a fork."""
        if self.pid != os.getpid():
            return True
        if self.chunk is not None:
            return self.chunk.over
        return self.flow is None or self.flow.scope is None or self.flow.scope.closed


def follow() -> None:
    """From now on the threads of this process remember the run in which they are started. Idempotent."""
    global _start
    if not _following:
        _following.append(True)
        _start, threading.Thread.start = threading.Thread.start, _started  # type: ignore[assignment, method-assign]


_following: list[bool] = []


def _started(thread: threading.Thread) -> None:
    if not thread.name.startswith("anabranch"):  # ours serve all runs
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
    """The context as it is: that of a chunk goes on to the next item."""
    return replace(task, run=replace(task.run))


def here() -> Origin | None:
    """The run that this thread belongs to, where only the thread itself knows of it."""
    if current_flow.get() is not None or current_task.get() is not None:
        return None
    found: Origin | None = vars(threading.current_thread()).get(_STARTED_IN)
    return None if found is None or found.over else found


def lost() -> bool:
    """Whether this thread may have belonged to a run, and nothing says to which."""
    thread = threading.current_thread()
    return thread is not threading.main_thread() and not thread.name.startswith("anabranch")


@contextlib.contextmanager
def adopted(origin: Origin) -> Iterator[None]:
    """Inside, this thread is in the run that it belongs to."""
    tags = tuple(dict.fromkeys((*origin.tags, *current_tags.get())))
    tokens = (current_flow.set(origin.flow), current_task.set(origin.task), current_tags.set(tags))
    try:
        yield
    finally:
        for variable, token in zip((current_flow, current_task, current_tags), tokens, strict=True):
            variable.reset(token)  # type: ignore[attr-defined]


def inside() -> contextlib.AbstractContextManager[None]:
    """As `adopted`, where this thread belongs to a run that only it knows of."""
    found = here()
    return contextlib.nullcontext() if found is None else adopted(found)


def carried(fn: Callable[P, R]) -> Callable[P, R]:
    """The function, to be called in the context of here wherever it is called; see `anabranch.context.carried`."""
    task = current_task.get()
    around = contextvars.copy_context()
    if task is not None:
        around.run(current_task.set, _pinned(task))
    elif (origin := here()) is not None:
        around.run(_adopt, origin)

    @functools.wraps(fn)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        return around.copy().run(fn, *args, **kwargs)  # a copy: several threads may be in it

    return inside


def _adopt(origin: Origin) -> Any:
    current_flow.set(origin.flow), current_task.set(origin.task), current_tags.set(origin.tags)
