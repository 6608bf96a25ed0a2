"""Contexts of items in the driver's process: those of their submits, one for a chunk or one for each item."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from anabranch import prints
from anabranch.core.context import current_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from anabranch.worker.chunk_run import ChunkRun


def run(chunk: Callable[[ChunkRun], None], work: ChunkRun) -> None:
    """Run a chunk in the context of its items; sets `work.contexts` where they have several."""
    carried = work.plans[0].stage.carried
    if carried is None:  # another process: what a run sets is not there for those after it
        contextvars.copy_context().run(chunk, work)
        return
    around = carried.of_all(work.items[0]) if len(work.plans) == 1 else _of_all(work)
    work.contexts = around is None
    (contextvars.copy_context() if around is None else around.copy()).run(chunk, work)


def _of_all(work: ChunkRun) -> Context | None:
    """Return the one context of all stages and items; None where there are several."""
    found = None
    for plan, items in zip(work.plans, work.items, strict=True):
        carried = plan.stage.carried
        here = None if carried is None else carried.of_all(items)
        if here is None or (found is not None and here is not found):
            return None
        found = here
    return found


def of(work: ChunkRun, number: int, position: int) -> Context:
    """Return a context of its own for one stage of one position."""
    carried = work.plans[number].stage.carried
    assert carried is not None  # all stages of a chunk run in one process
    return carried.at(work.items[number][position])


def apart(take: Callable[..., Any], work: ChunkRun, number: int, plan: Any, position: int, *args: Any) -> Any:
    """Run a stage of a position in its own context."""
    return of(work, number, position).run(_inside, take, work, number, plan, position, *args)


def _inside(take: Callable[..., Any], work: ChunkRun, *args: Any) -> Any:
    current_task.set(args[-1])  # the context has none of anabranch's variables
    with prints.prints(work.prints):
        return take(work, *args)
