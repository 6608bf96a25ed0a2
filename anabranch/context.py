"""`anabranch.context`: the run around the code of a task or a flow, on every runner.

    context.task_run()   in a task: its run's id, name, attempt, place in its map, tags; the flow run's id and name
    context.flow_run()   in a flow: its run's id, name, attempt, tags, parameters
    context.carried(fn)  the function bound to this context, for a pool or thread of one's own
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from anabranch.core import strays
from anabranch.core.context import current_flow, current_task
from anabranch.core.errors import MissingContextError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class TaskRunInfo:
    """A task run as its own code sees it, as of the moment of the call.

    Attributes:
        index: its place in its map; for a single run, among those of its task.
        attempt: the number of the attempt, from 1.
        version: the task's option, "" where it has none.
        flow_run_id: "" outside any flow, like the name.
    """

    id: str
    name: str
    task_name: str
    index: int
    attempt: int
    tags: tuple[str, ...]
    version: str
    flow_run_id: str
    flow_run_name: str


@dataclass(frozen=True, slots=True)
class FlowRunInfo:
    """A flow run as its own code sees it.

    Attributes:
        attempt: the number of the attempt, from 1.
        version: the flow's option, "" where it has none.
        parameters: the flow's arguments, by name.
    """

    id: str
    name: str
    flow_name: str
    attempt: int
    tags: tuple[str, ...]
    version: str
    parameters: Mapping[str, Any]


def task_run() -> TaskRunInfo:
    """Return the task run around this code; a plain call of a task inside another one is a run of its own.

    Raises MissingContextError outside of tasks.
    """
    here, origin = current_task.get(), strays.here()
    if here is None and origin is not None:
        here = origin.task
    if here is None:
        raise MissingContextError("context.task_run() works inside a task; inside a flow: context.flow_run()")
    run = here.run
    return TaskRunInfo(
        run.id, run.name, run.task_name, run.index, run.attempt, run.tags, run.version, run.flow_run_id,
        run.flow_run_name,
    )  # fmt: skip


def flow_run() -> FlowRunInfo:
    """Return the flow run around this code.

    Raises MissingContextError outside of flows, and inside a task, which may run anywhere: it has the flow run's
    `task_run().flow_run_id` and `.flow_run_name`.
    """
    here, task, origin = current_flow.get(), current_task.get(), strays.here()
    if origin is not None:
        here, task = origin.flow, origin.task
    if task is not None:
        raise MissingContextError(
            "context.flow_run() works inside a flow; a task has context.task_run().flow_run_id and .flow_run_name"
        )
    if here is None:
        raise MissingContextError("context.flow_run() works inside a flow")
    return FlowRunInfo(
        here.id, here.name, here.flow_name, here.attempt, here.tags, here.version, dict(here.parameters)
    )


def carried(fn: Callable[P, R]) -> Callable[P, R]:
    """Return the function bound to this context: the run, its tags, the program's context variables.

    For threads and pools of one's own, which do not have the context of the code that uses them::

        with ThreadPoolExecutor() as pool:
            pages = list(pool.map(context.carried(fetch), urls))

    A thread that is started in a run belongs to the run without this, as long as the run lasts. A thread of an older
    pool does not. Neither has the `tags` of a block, nor context variables.
    """
    return strays.carried(fn)
