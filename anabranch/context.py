"""`anabranch.context`: the run around the code of a task or a flow, on every runner.

    context.task_run()   in a task: its run's id, name, attempt, place in its map, tags; the flow run's id and name
    context.flow_run()   in a flow: its run's id, name, attempt, tags, parameters
    context.rng()        the run's random numbers: the same on every runner, whatever the chunks and attempts
    context.carried(fn)  the function bound to this context, for a pool or thread of one's own
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from anabranch.core import drawing, strays
from anabranch.core.context import current_flow, current_task
from anabranch.core.errors import MissingContextError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    import numpy

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


@overload
def rng(kind: Literal["numpy"] = "numpy") -> numpy.random.Generator: ...
@overload
def rng(kind: Literal["random"]) -> random.Random: ...
@overload
def rng(kind: Literal["torch"]) -> Any: ...
def rng(kind: str = "numpy") -> Any:
    """Return the random generator of this run, which each attempt begins anew.

    The numbers depend on the seed, on the task's name, on the how-manieth of its maps this is, and on the place of the
    item in it; not on the runner, the chunks, the order, the attempt or the worker. A second call returns the same
    generator, which goes on. A task that is called inside another task draws from that one's, unless it has a seed.
    The seed is the option `seed` of the map, the task or the flow; without one it is made at the first draw and
    recorded (`anabranch run show RUN`).

    Args:
        kind: "numpy" gives a `numpy.random.Generator`, "random" a `random.Random`, "torch" a `torch.Generator` on the
            CPU; each has a stream of its own. NumPy does not promise the same numbers from one version to the next.

    Raises MissingContextError outside of runs and in threads that a run has started, MissingExtraError where the
    package is not installed, ValueError for another kind.
    """
    if kind not in ("numpy", "random", "torch"):
        raise ValueError(f"context.rng() takes 'numpy', 'random' or 'torch', got {kind!r}")
    return getattr(drawing.here(), "python" if kind == "random" else kind)


def random_state() -> int:
    """Return a number from 0 to 2**32 - 1 for a `random_state` of scikit-learn; another one at each call.

    It is the same on every runner, as the numbers of `rng`, and needs no NumPy. Raises MissingContextError as `rng`.
    """
    return drawing.here().state()


def seed() -> int:
    """Return the seed that the numbers of this run come from, to note it beside a result; raises as `random_state`."""
    return drawing.here().seed


def carried(fn: Callable[P, R]) -> Callable[P, R]:
    """Return the function bound to this context: the run, its tags, the program's context variables.

    For threads and pools of one's own, which do not have the context of the code that uses them::

        with ThreadPoolExecutor() as pool:
            pages = list(pool.map(context.carried(fetch), urls))

    A thread that is started in a run belongs to the run without this, as long as the run lasts. A thread of an older
    pool does not. Neither has the `tags` of a block, nor context variables.
    """
    return strays.carried(fn)
