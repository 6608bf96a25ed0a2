"""Prefect's `@task` and Task: ours, with Prefect's arguments, futures, states and messages."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from anabranch import tasks as ours
from anabranch.compat.prefect.answers import Decorated, function_of, in_flow, state_of
from anabranch.compat.prefect.binding import bound
from anabranch.compat.prefect.changes import signed
from anabranch.compat.prefect.futures import MappedFutures
from anabranch.compat.prefect.hooks import Hook
from anabranch.compat.prefect.run_states import State
from anabranch.compat.prefect.task_arguments import TaskArguments, engine_options
from anabranch.compat.prefect.utilities.annotations import unmapped
from anabranch.compat.prefect.utilities.calls import get_call_parameters, mapping_error
from anabranch.compat.prefect.utilities.hashing import hash_objects
from anabranch.compat.prefect1.nodes import call_of, current, flow_here
from anabranch.compat.prefect1.older_options import translated
from anabranch.compat.prefect1.tasks import UNSET, OlderTask, rebuilt
from anabranch.core.annotations import quote
from anabranch.core.descriptors import Bound, owner_of
from anabranch.core.errors import MapError
from anabranch.core.options import exponential_backoff
from anabranch.core.reachable import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.compat.prefect.background import BackgroundFuture
    from anabranch.core.task_spec import TaskSpec

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["Task", "exponential_backoff", "task", "task_input_hash"]


class Task(Decorated, ours.Task[P, R], OlderTask):  # type: ignore[misc]
    """A function that can be called, submitted and mapped; its arguments are those of Prefect's `@task`."""

    def __init__(self, fn: Callable[P, R] = UNSET, name: str | None = None, *args: Any, **given: Any) -> None:
        names = [f.name for f in dataclasses.fields(TaskArguments)][1:]
        taken = TaskArguments(name, **dict(zip(names, args, strict=False)), **translated(given))
        if fn is not UNSET:
            self._take(fn, taken)
            return
        own = frozenset(vars(self))  # a subclass may have set some before
        taken.name = name or type(self).__name__
        self._take(self._own_function(), taken)
        self._engines = frozenset(vars(self)) - own

    def _take(self, fn: Any, given: TaskArguments) -> None:
        plain = function_of(fn)
        self.given = given
        self.attributes = given.attributes(plain)
        super().__init__(fn, {"name": given.name, **engine_options(self.attributes)})

    @staticmethod
    def _of_spec(spec: TaskSpec) -> Task[..., Any]:
        """Return the Task that a hook gets on a worker."""
        made: Task[..., Any] = Task(spec.fn, spec.name)
        made.options = spec.options
        return made

    # -- the ways to run -------------------------------------------------------------------------

    def __call__(self, /, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Run now and return the value; `return_state=True` returns the State."""
        if current.get() is not None:  # in a block of Prefect 1
            return call_of(flow_here(), self, args, kwargs)
        if return_state and self.isgenerator:
            raise ValueError("Cannot return state for generator tasks")
        here = in_flow(self)
        if here is not self:
            return here(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        args, kwargs = bound(self, args, kwargs)
        call: Any = super().__call__
        found = call(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        return state_of(found, self.isasync) if return_state else found

    def map(
        self, /, *args: Any, return_state: bool = False, wait_for: Any = None, deferred: bool = False, **kwargs: Any
    ) -> Any:
        """Run once per element of the iterable arguments; a list of futures, or with `return_state` of States.

        Args:
            deferred: True runs them beside all flows, as `apply_async` does.

        Raises MappingMissingIterable and MappingLengthMismatch.
        """
        if current.get() is not None:
            return call_of(flow_here(), self, args, kwargs, all_mapped=True)
        here = in_flow(self)
        if here is not self and not deferred:
            return here.map(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        bound(self, args, kwargs)
        try:
            if deferred:
                futures: MappedFutures = _background().mapped(self, args, kwargs, wait_for)
            else:
                futures = MappedFutures.of(super().map(*args, wait_for=wait_for, **kwargs))
        except MapError:
            raise mapping_error(self.plain_fn, get_call_parameters(self.plain_fn, args, kwargs, False)) from None
        return [State.of(state) for state in futures.wait()] if return_state else futures

    def apply_async(
        self, args: Any = None, kwargs: dict[str, Any] | None = None, wait_for: Any = None, dependencies: Any = None
    ) -> BackgroundFuture:
        """Run it in this program, beside all flows, and return its future at once.

        Args:
            dependencies: runs that it comes of; noted nowhere.
        """
        args, kwargs = bound(self, tuple(args or ()), dict(kwargs or {}))
        found: BackgroundFuture = _background().submitted(self, args, kwargs, wait_for)
        return found

    def delay(self, *args: Any, **kwargs: Any) -> BackgroundFuture:
        """Do as `apply_async`."""
        return self.apply_async(args, kwargs)

    def serve(self, *args: Any, **kwargs: Any) -> Any:
        _no_workers("serve")

    # -- other options, hooks, methods -----------------------------------------------------------

    def with_options(self, **given: Any) -> Task[P, R]:
        """Return the task with some options changed; this one stays as it is."""
        made: Task[P, R] = Task.__new__(Task)
        made._take(self.plain_fn, self.given.with_changes(translated(given)))
        made._binds = self._binds
        return made

    def _hook(self, name: str, hook: Any) -> Any:
        self._keep_hook(name, hook)
        super()._hook(name, hook if name in ("on_commit", "on_rollback") else Hook(hook))
        return hook

    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        owner = owner_of(self._binds, instance, kind)
        return self if owner is None else BoundTask(self, owner)

    def __reduce__(self) -> Any:
        if type(self).run is not OlderTask.run:
            own = {name: value for name, value in vars(self).items() if name not in (*self._engines, "_engines")}
            return (rebuilt, (type(self), self.given, own))
        return (_rebuild, (self.fn, self.given, self._binds))


class BoundTask(Bound, Task[P, R]):  # type: ignore[misc]
    """A task read from an instance, or from a class where it is a classmethod."""

    def map(self, /, *args: Any, **kwargs: Any) -> Any:
        """Map the task's function, with the owner as its first argument."""
        return self.__func__.map(unmapped(quote(self.__self__)), *args, **kwargs)


def _rebuild(fn: Any, given: TaskArguments, binds: Any) -> Task[..., Any]:
    made: Task[..., Any] = Task.__new__(Task)
    made._take(plain(fn), given)
    made._binds = binds
    return made


def _background() -> Any:
    """Return the module of background tasks; loading it loads the engine."""
    return importlib.import_module("anabranch.compat.prefect.background")


def _no_workers(name: str) -> None:
    raise NotImplementedError(
        f"anabranch has no task workers, so no Task.{name}: `task.delay(...)` runs in the program that calls it; for "
        "another program deploy a flow that calls the task"
    )


Task.with_options.__signature__ = signed("self", TaskArguments, without={"version"})  # type: ignore[attr-defined]


def task(__fn: Any = None, **given: Any) -> Any:
    """Make a function a task; with or without parentheses, with the arguments of Prefect's `@task`."""
    if __fn is None:
        return functools.partial(task, **given)
    return Task(__fn, **given)


task.__signature__ = signed("__fn", TaskArguments)  # type: ignore[attr-defined]


def task_input_hash(context: Any, arguments: dict[str, Any]) -> str | None:
    """Return a cache key: the same task, with the same code and the same arguments."""
    return hash_objects(context.task.task_key, context.task.source_code, arguments)
