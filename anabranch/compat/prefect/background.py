"""Prefect's background tasks, which run in this program, beside all its flows.

    task.delay(x)  task.apply_async((x,))  task.map(xs, deferred=True)
      -> a submit to the program's own run: no flow waits for it, or fails with it
      -> the program ends when they have ended

There are no task workers. On a worker in another process a task knows no run but its own, and its background tasks
belong to that.
"""

from __future__ import annotations

import atexit
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.compat.prefect import flow_rules
from anabranch.compat.prefect.futures import MappedFutures, PrefectDistributedFuture, TaskRunFuture
from anabranch.core import forks
from anabranch.core.context import current_flow, current_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.compat.prefect.run_states import State
    from anabranch.core.scopes import SubmitPort
    from anabranch.tasks import Task

_waits: list[bool] = []  # one element once the program's end waits


class BackgroundFuture(TaskRunFuture, PrefectDistributedFuture[Any]):
    """A handle to a background task, which runs in this program."""

    async def wait_async(self, timeout: float | None = None) -> State:
        """Do as `wait`, in a thread beside the event loop."""
        import asyncio

        return await asyncio.to_thread(self.wait, timeout)

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Do as `result`, in a thread beside the event loop."""
        import asyncio

        return await asyncio.to_thread(self.result, timeout, raise_on_failure)


class BackgroundFutures(MappedFutures):
    """The futures of a map of background tasks."""

    one = BackgroundFuture


def submitted(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> BackgroundFuture:
    """Run a task beside all flows; returns its future at once."""
    with _beside() as scope:
        return BackgroundFuture.of(scope.submit(task, args, kwargs, wait_for))


def mapped(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> BackgroundFutures:
    """Map a task beside all flows; raises MapError where it cannot be mapped."""
    with _beside() as scope:
        return BackgroundFutures.of(scope.map(task, args, kwargs, task.options.of_maps(), wait_for))


@contextmanager
def _beside() -> Iterator[SubmitPort]:
    """Give the scope of background tasks; they are not below the run that sends them: its end cancels such runs."""
    here = current_task.get()
    if here is not None and here.scope is not None and current_flow.get() is None:
        yield here.scope
        return
    token = current_task.set(None)
    try:
        yield _outside()
    finally:
        current_task.reset(token)


def _outside() -> SubmitPort:
    scope = sessions.current().scopes.interactive()
    if not _waits:
        _waits.append(True)
        atexit.register(_wait_at_the_end)  # after the session's own, so before it
    return scope


def _wait_at_the_end() -> None:
    """Wait for what runs outside of flows; Ctrl-C, before or in the wait, ends it.

    After a signal that has ended a flow it has the grace that the flow's own runs had: the sender does not wait longer.
    """
    if _waits and not issubclass(getattr(sys, "last_type", None) or type(None), KeyboardInterrupt):
        session = sessions.current()
        grace = session.settings.shutdown_grace if flow_rules.left else None
        session.scopes.interactive().endings.wait_all(grace)


forks.in_copies(_waits.clear)
forks.in_copies(flow_rules.left.clear)
