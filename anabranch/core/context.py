"""The flow run, the task run and the tags around the running code, as context variables."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from anabranch.core import forks
from anabranch.core.asking import name_of, shown, told
from anabranch.core.errors import OptionError
from anabranch.core.ids import short_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.contracts import WorkerPort
    from anabranch.core.log_lines import LogLine
    from anabranch.core.scopes import DriverPort, NestedPort
    from anabranch.core.states import State
    from anabranch.core.task_spec import TaskSpec


@dataclass(slots=True)
class TaskRun:
    """One task run, as hooks and handlers get it; `anabranch.context` gives the task's code a copy.

    Attributes:
        state: the state that the hook is called for.
        start_time: Unix seconds at which the attempt began, by its machine's clock; 0.0 where that is not known.
        end_time: the same for the end.
    """

    task_name: str
    map_id: str
    index: int
    attempt: int = 1
    flow_run_id: str = ""
    flow_run_name: str = ""
    tags: tuple[str, ...] = ()
    kind: str = "map"  # "map", "submit", "call"
    given_name: str = ""
    start_time: float = 0.0
    uncounted_attempts: int = 0  # earlier attempts that the infrastructure lost
    version: str = ""  # the task's option
    end_time: float = 0.0
    state: State | None = None
    bound: Callable[[], dict[str, Any]] | None = None  # makes the parameters on demand: most runs are never asked
    draws: Any = None  # the `core.draws.Source` of its random numbers

    @property
    def parameters(self) -> dict[str, Any]:
        """The run's arguments, by name.

        For a run that ends in the driver, values that are not there are replaced: by the upstream's exception, by its
        State while it has not ended, or by the ResultReleased of a value that is gone.
        """
        if self.bound is None:
            return {}
        found = self.bound()
        self.bound = lambda: found
        return found

    def __reduce__(self) -> Any:
        found = self.parameters
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "bound"}
        return (_with_parameters, (given, found))

    @property
    def id(self) -> str:
        return f"{self.map_id}/{self.index}"

    @property
    def run_count(self) -> int:
        return self.attempt

    @property
    def counted(self) -> int:
        """The attempt number as the user's `retries` count it."""
        return self.attempt - self.uncounted_attempts

    @property
    def name(self) -> str:
        """The name given by `task_run_name`, else ``task-3a9``, or ``task[17]`` in a map."""
        if self.given_name:
            return self.given_name
        if self.kind == "map":
            return f"{self.task_name}[{self.index}]"
        return f"{self.task_name}-{short_hash(self.map_id, self.index)}"


def _with_parameters(given: dict[str, Any], parameters: dict[str, Any]) -> TaskRun:
    return TaskRun(**given, bound=lambda: parameters)


def given_name(given: str | Callable[..., str], parameters: dict[str, Any], where: str) -> str:
    """Return a run's name from a template over the parameters, or from a function that may take them as `parameters`.

    Args:
        where: the option, for errors: ``@task 'load': task_run_name``.

    Raises OptionError: the template names no parameter, the function fails, or gives no string.
    """
    try:
        if isinstance(given, str):
            name = given.format(**parameters)
        else:
            name = given(parameters=parameters) if _takes_parameters(given) else given()
    except (KeyError, IndexError) as error:
        if not isinstance(given, str):
            raise _unnamed(where, given, error) from error
        known = ", ".join(parameters) or "none"
        raise OptionError(f"{where} {given!r} names {error}, which is not a parameter; known are: {known}") from None
    except Exception as error:  # the user's function raised, or a parameter's own code
        raise _unnamed(where, given, error) from error
    if not isinstance(name, str):
        raise OptionError(f"{where} must return a string, got {type(name).__name__} {shown(name, 60)}")
    return name


def _takes_parameters(given: Callable[..., str]) -> bool:
    try:
        return "parameters" in inspect.signature(given).parameters
    except (ValueError, TypeError):  # a callable without a signature
        return False


def _unnamed(where: str, given: str | Callable[..., str], error: Exception) -> OptionError:
    text = repr(given) if isinstance(given, str) else f"({name_of(given)})"
    return OptionError(f"{where} {text} raised {told(error)}")


@dataclass(slots=True)
class TaskContext:
    """The task run around the running code."""

    run: TaskRun
    port: WorkerPort | None = None  # None: called in the driver
    chunk: int = -1
    position: int = 0
    log: Callable[[LogLine], None] | None = None  # takes log lines; None: straight to the driver's handlers
    level: int = 20
    scope: NestedPort | None = None  # on a worker outside the driver: where its nested submits go
    fns: dict[str, Callable[..., Any]] = field(default_factory=dict)  # the functions of its stages, by map (worker)
    submits: bool = False  # its code has futures: they may be anywhere in its return value
    over: bool = False  # none of its code runs any more
    draws: Any = None  # see `core.drawing`: streams of an attempt, a TaskContext that has them, or `strays.ELSEWHERE`
    spec: TaskSpec | None = None  # of its task; None where a task asks from another process
    item: Any = None  # what a plain run on a worker was given, while it runs
    bound: Callable[[TaskContext], dict[str, Any]] | None = None  # makes the parameters of a plain run

    @property
    def parameters(self) -> dict[str, Any]:
        """The run's arguments, by name."""
        if self.run.bound is None and self.bound is not None:
            return self.bound(self)
        return self.run.parameters


@dataclass(slots=True)
class FlowContext:
    """The flow run around the running code, in the driver."""

    id: str
    name: str
    flow_name: str
    attempt: int = 1
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    scope: DriverPort | None = None  # where its runs belong; None in a forked copy of the driver
    log_prints: bool = False
    version: str = ""
    caller: TaskContext | None = None  # the task run that called the flow: it lends its slot while the flow waits
    draws: Any = None  # the streams of an attempt, see `core.drawing`
    flow: Any = None  # the flow itself


current_task: ContextVar[TaskContext | None] = ContextVar("anabranch_task", default=None)
current_flow: ContextVar[FlowContext | None] = ContextVar("anabranch_flow", default=None)
current_tags: ContextVar[tuple[str, ...]] = ContextVar("anabranch_tags", default=())


def task_around() -> TaskContext | None:
    """Return the task run of this thread, also from inside a flow that the task has called."""
    task = current_task.get()
    if task is not None:
        return task
    flow = current_flow.get()
    return None if flow is None else flow.caller


def flow_here() -> FlowContext | None:
    """Return the flow run that new runs belong to: none in a forked copy of its driver."""
    here = current_flow.get()
    return None if here is None or here.scope is None else here


def _only_names() -> None:
    """Keep only the names of runs: a forked copy of the driver knows nothing else of them."""
    flow, task = current_flow.get(), current_task.get()
    if flow is not None:
        current_flow.set(replace(flow, scope=None, caller=None))
    if task is not None:
        current_task.set(replace(task, port=None, log=None, scope=None))


forks.in_copies(_only_names)


@contextmanager
def tags(*new: str) -> Iterator[tuple[str, ...]]:
    """Add tags to the runs that are submitted or called inside; nested uses add up.

    Tags are captured when `submit`, `map` or a call happens, not when the task runs.
    """
    merged = tuple(dict.fromkeys((*current_tags.get(), *new)))
    token = current_tags.set(merged)
    try:
        yield merged
    finally:
        current_tags.reset(token)
