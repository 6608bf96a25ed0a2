"""Where code that draws random numbers finds its stream: on the context of its run, made at the first draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import nested, strays
from anabranch.core.context import TaskContext, current_flow, current_task
from anabranch.core.draws import Source, Streams
from anabranch.core.errors import MissingContextError

if TYPE_CHECKING:
    from anabranch.core.context import FlowContext


def here() -> Streams:
    """Return the streams of the run around this code; raises MissingContextError where there is none."""
    task, flow = current_task.get(), current_flow.get()
    if task is not None:
        return of_task(task)
    if flow is not None:
        return _of_flow(flow)
    if strays.here() is not None:
        raise MissingContextError(_THREAD)
    raise MissingContextError("random numbers are drawn inside a task or a flow: nothing runs around this code")


def of_task(task: TaskContext) -> Streams:
    """Return the streams of a task run; a call of a task without a seed inside another task draws from that one's."""
    while type(task.draws) is TaskContext:
        task = task.draws
    if task.draws is strays.ELSEWHERE:
        raise MissingContextError(_THREAD)
    found: Streams | None = task.draws
    run = task.run
    attempt = (run.map_id, run.index, run.attempt)
    if found is None or found.attempt != attempt:
        source: Source | None = run.draws
        if source is None:
            raise MissingContextError(f"task run {run.name!r} has no seed: it is called again outside of its flow run")
        found = task.draws = Streams(source, run.index, attempt, lambda: _seed(task, source))
    return found


def _seed(task: TaskContext, source: Source) -> int:
    if source.seed is None:  # two threads may both ask, and get the same
        if source.root is not None:
            source.seed = source.root.seed()
        else:
            assert task.scope is not None  # a worker outside the driver, whose tasks have one
            source.seed = task.scope.ask(nested.ReadSeed(task.run.flow_run_id, task.run.map_id))
    return source.seed


def _of_flow(flow: FlowContext) -> Streams:
    if flow.scope is None:
        raise MissingContextError("a forked copy of a flow's process draws no numbers of the flow")
    found: Streams | None = flow.draws
    if found is None or found.attempt != flow.attempt:
        root = flow.scope.draws
        found = flow.draws = Streams(root.own(), 0, flow.attempt, root.seed)
    return found


_THREAD = (
    "a thread of its own draws no numbers of its run, because threads take turns in no fixed order: draw before it "
    "starts, and give each thread its generator: context.rng().spawn(n)"
)
