"""Prefect's task runners, each a description of one of ours; a flow starts it, and shares it with its subflows.

    with ThreadPoolTaskRunner(max_workers=4) as runner:
        future = runner.submit(task, {"x": 1})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Self

import anabranch
from anabranch.compat.prefect.futures import PrefectFutureList
from anabranch.compat.prefect.settings import setting
from anabranch.compat.prefect.utilities.calls import parameters_to_args_kwargs
from anabranch.core.own_runners import OwnRunner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.compat.prefect.tasks import Task


class TaskRunner:
    """Where the tasks of a flow run."""

    runs_on: ClassVar[str] = "thread"

    def __init__(self) -> None:
        self._started = False
        self._runner: Any = None

    @property
    def name(self) -> str:
        """The name of its class, in small letters."""
        return type(self).__name__.lower().replace("taskrunner", "")

    def options(self) -> dict[str, Any]:
        """Return the arguments of our runner; empty: the one that flows share."""
        return {}

    def engine_runner(self) -> Any:
        """Return our runner, or its name."""
        given = {name: value for name, value in self.options().items() if value is not None}
        if not given:
            return self.runs_on
        if self._runner is None:
            self._runner = getattr(anabranch, f"{self.runs_on.capitalize()}Runner")(**given)
        return self._runner

    def duplicate(self) -> Self:
        """Return a runner of the same description that has not started."""
        made = type(self).__new__(type(self))
        made.__dict__.update({**self.__dict__, "_started": False, "_runner": None})
        return made

    def submit(
        self, task: Task[..., Any], parameters: dict[str, Any], wait_for: Iterable[Any] | None = None,
        dependencies: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Submit a task with parameters by name; raises RuntimeError before the runner has started."""
        self._check_started()
        args, kwargs = parameters_to_args_kwargs(task.plain_fn, parameters)
        return task.submit(*args, wait_for=wait_for, **kwargs)

    def map(self, task: Task[..., Any], parameters: dict[str, Any], wait_for: Iterable[Any] | None = None) -> Any:
        """Map a task over parameters by name."""
        self._check_started()
        args, kwargs = parameters_to_args_kwargs(task.plain_fn, parameters)
        return PrefectFutureList(task.map(*args, wait_for=wait_for, **kwargs))

    def _check_started(self) -> None:
        if not self._started:
            raise RuntimeError("Task runner is not started")

    def __enter__(self) -> Self:
        if self._started:
            raise RuntimeError("This task runner is already started")
        self._started = True
        own = self.engine_runner()
        if isinstance(own, OwnRunner):
            own.__enter__()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._started = False
        own, self._runner = self._runner, None
        if isinstance(own, OwnRunner):
            own.__exit__(kind)

    def __eq__(self, other: object) -> bool:
        mine = {**vars(self), "_runner": None, "_started": None}
        return type(self) is type(other) and mine == {**vars(other), "_runner": None, "_started": None}

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.options().items() if value is not None)
        return f"{type(self).__name__}({told})"


class ThreadPoolTaskRunner(TaskRunner):
    """Tasks run on threads of this process, `max_workers` of them."""

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()
        self._max_workers = max_workers or setting("PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS")

    def options(self) -> dict[str, Any]:
        return {"max_workers": self._max_workers}


class ProcessPoolTaskRunner(TaskRunner):
    """Tasks run in processes of this machine, `max_workers` of them."""

    runs_on = "process"

    def __init__(self, max_workers: int | None = None, **_: Any) -> None:
        super().__init__()
        self._max_workers = max_workers or setting("PREFECT_TASKS_RUNNER_PROCESS_POOL_MAX_WORKERS")

    def options(self) -> dict[str, Any]:
        return {"max_workers": self._max_workers}


ConcurrentTaskRunner = ThreadPoolTaskRunner


class SequentialTaskRunner(TaskRunner):
    """Tasks run one after the other, here."""

    runs_on = "inline"


class PrefectTaskRunner(TaskRunner):
    """Tasks run in task workers, which anabranch has none of: one cannot be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("anabranch has no task workers: use ThreadPoolTaskRunner, or DaskTaskRunner")


def __getattr__(name: str) -> Any:
    """Return the runners that the first Prefect 2 had here."""
    home = {"DaskTaskRunner": "prefect_dask", "RayTaskRunner": "prefect_ray"}.get(name)
    if home is None:
        raise AttributeError(f"module 'prefect.task_runners' has no attribute {name!r}")
    return getattr(importlib.import_module(f"anabranch.compat.{home}"), name)
