"""`@task` and Task: call it, submit it, map it."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, Unpack, overload

from anabranch.core import context, lazy, options, strays, tracebacks
from anabranch.core.annotations import quote, unmapped
from anabranch.core.asking import attribute
from anabranch.core.decorated import Hooked
from anabranch.core.descriptors import CHAINS, Bound, opened, owner_of, under_classmethod
from anabranch.core.errors import OptionError
from anabranch.core.options import MAP_OPTION_NAMES, MapOptions, TaskOptions
from anabranch.core.reachable import plain
from anabranch.core.runnable import Runnable, name_of
from anabranch.core.transactions import block_here
from anabranch.core.type_variables import F, P, Q, R, R_co, T

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anabranch import session
    from anabranch.core.descriptors import Binds
    from anabranch.core.future_lists import FutureList
    from anabranch.core.futures import Future
    from anabranch.core.keywords import Chunk, Keep, TaskKeywords
    from anabranch.core.map_states import States
    from anabranch.core.scopes import SubmitPort
    from anabranch.core.states import State
    from anabranch.core.task_spec import TaskSpec
    from anabranch.core.type_variables import Items
    from anabranch.runs import task_calls
else:
    lazy.later(globals(), "anabranch", "session")
    lazy.later(globals(), "anabranch.runs", "task_calls")


def _nothing() -> None:
    """What a Task without a function runs, as in Prefect 1: `Task(state_handlers=[...])`."""


_nothing.__name__ = "Task"

class Task(Runnable, Hooked, Generic[P, R_co]):
    """A function that can be called, submitted and mapped; made by `@task`.

    `task(x)` runs now and returns the value (a coroutine if the function is async), `task.submit(x)` returns
    a future, `task.map(xs)` a future list. `.fn` is the plain function. In a class a task is a method: read from
    an instance it is bound to it (`BoundTask`); `@classmethod` and `@staticmethod` go under `@task`.

    A generator function, async or not, makes a generator task. Submitted, its value is the list of its items. Called,
    it is a generator; the run begins with the first item and ends with the last one, or completes where the generator
    is closed. Such a call is retried only while it has given no item, its `timeout_seconds` counts its own code alone,
    and it uses neither cache nor store. See docs/generators.md.
    """

    def __init__(
        self,
        fn: Callable[P, R_co] = _nothing,  # type: ignore[assignment]
        given: dict[str, Any] | None = None,
        *,
        base: TaskOptions | None = None,
        **more: Any,
    ) -> None:
        given = {**(given or {}), **more}
        abstract = attribute(fn, "__isabstractmethod__")
        fn, self._binds = opened(fn)
        if not callable(fn):
            raise OptionError(f"@task takes a function, got {fn!r}{_way_out(fn)}")
        name = (given or {}).get("name") or (base.name if base else None) or name_of(fn)
        chosen: TaskOptions = options.make(TaskOptions, f"@task {name!r}", given or {}, base)
        super().__init__(fn, chosen.name or name, chosen, _source_of(fn, chosen), self._of_spec)
        functools.update_wrapper(self, fn, updated=())
        if self.binder.signature is not None:
            self.__signature__: inspect.Signature = self.binder.signature
        if abstract is True:
            self.__isabstractmethod__ = True
        self._may_hide = not CHAINS and self._binds == "instance" and self.binder.names[:1] == ("cls",)
        self._twin: tuple[TaskOptions, Task[P, R_co]] | None = None  # these options, and a task with the other `detach`

    @staticmethod
    def _of_spec(spec: TaskSpec) -> Task[..., Any]:
        """Return the Task that a hook gets on a worker."""
        made: Task[..., Any] = Task(spec.fn, None, base=spec.options)
        made.name = spec.name
        return made

    # -- the four ways to run --------------------------------------------------------------------

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(
        self: Task[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any
    ) -> State[R_co]: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[False] = False, wait_for: Any = None, **kwargs: Any
    ) -> R_co: ...
    def __call__(self, /, *args: Any, return_state: Any = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run now, in this thread, and return the value; `return_state=True` returns the State instead.

        Futures and States among the arguments, at any depth, are waited for and become values. A generator task gives
        its items. Raises the function's own exception, UpstreamError when one of these did not complete, OptionError
        when `return_state` is asked of a generator task.
        """
        try:
            return task_calls.call(self, args, kwargs, return_state=return_state, wait_for=wait_for)
        except BaseException as error:
            tracebacks.hide(error)
            raise

    # First the call as the function has it; then any arguments, for futures may stand in their places.
    @overload
    def submit(self: Task[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...  # type: ignore[overload-overlap]
    @overload
    def submit(self: Task[P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[list[T]]: ...  # type: ignore[overload-overlap]
    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R_co]: ...
    @overload
    def submit(
        self: Task[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None,
        **kwargs: Any,
    ) -> State[T]: ...
    @overload
    def submit(
        self: Task[P, Items[T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any
    ) -> State[list[T]]: ...
    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any
    ) -> State[R_co]: ...
    @overload
    def submit(
        self: Task[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[False] = False,
        wait_for: Any = None, **kwargs: Any,
    ) -> Future[T]: ...
    @overload
    def submit(
        self: Task[P, Items[T]], /, *args: Any, return_state: Literal[False] = False, wait_for: Any = None,
        **kwargs: Any,
    ) -> Future[list[T]]: ...
    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[False] = False, wait_for: Any = None, **kwargs: Any
    ) -> Future[R_co]: ...
    def submit(self, /, *args: Any, return_state: Any = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run on the flow's runner and return a future at once.

        Args:
            return_state: wait and return the final state instead of the future.
            wait_for: futures (in any nesting) to wait for without reading their values.
            detach: True lets it go on when a stop ends a wait for it outside of flows; the task's own argument where
                it has a parameter of that name.

        Arguments may hold futures at any depth: the run starts when they have ended and gets their
        values. A State stands for its run in the same way; `quote(state)` hands it over as it is. Raises
        ParameterBindError at once when the arguments do not fit.
        """
        if self._may_hide:
            self._check_seen()
        if "detach" in kwargs and not self.binder.takes("detach"):
            task = self._detached(kwargs.pop("detach"))
            return task.submit(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        future = _scope().submit(self, args, kwargs, wait_for)
        if (block := block_here.get()) is not None:
            block.submitted(self, future)
        return future.wait() if return_state else future

    @overload
    def map(
        self: Task[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[False] = False,
        wait_for: Any = None, chunk: Chunk = ..., window: Chunk = ..., keep: Keep = ...,
        log_items: bool = ..., detach: bool = ..., seed: Any = ..., **kwargs: Any,
    ) -> FutureList[T]: ...
    @overload
    def map(
        self: Task[P, Items[T]], /, *args: Any, return_state: Literal[False] = False,
        wait_for: Any = None, chunk: Chunk = ..., window: Chunk = ..., keep: Keep = ...,
        log_items: bool = ..., detach: bool = ..., seed: Any = ..., **kwargs: Any,
    ) -> FutureList[list[T]]: ...
    @overload
    def map(
        self, /, *args: Any, return_state: Literal[False] = False,
        wait_for: Any = None, chunk: Chunk = ..., window: Chunk = ..., keep: Keep = ...,
        log_items: bool = ..., detach: bool = ..., seed: Any = ..., **kwargs: Any,
    ) -> FutureList[R_co]: ...
    @overload
    def map(
        self: Task[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[True],
        wait_for: Any = None, chunk: Chunk = ..., window: Chunk = ..., keep: Keep = ...,
        log_items: bool = ..., detach: bool = ..., seed: Any = ..., **kwargs: Any,
    ) -> States[T]: ...
    @overload
    def map(
        self: Task[P, Items[T]], /, *args: Any, return_state: Literal[True],
        wait_for: Any = None, chunk: Chunk = ..., window: Chunk = ..., keep: Keep = ...,
        log_items: bool = ..., detach: bool = ..., seed: Any = ..., **kwargs: Any,
    ) -> States[list[T]]: ...
    @overload
    def map(
        self, /, *args: Any, return_state: Literal[True],
        wait_for: Any = None, chunk: Chunk = ..., window: Chunk = ..., keep: Keep = ...,
        log_items: bool = ..., detach: bool = ..., seed: Any = ..., **kwargs: Any,
    ) -> States[R_co]: ...
    def map(self, /, *args: Any, return_state: Any = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run once per element of the iterable arguments; one future list for all.

        Args:
            return_state: wait and return the list of states instead.
            wait_for: futures that every item waits for.
            chunk: items per chunk, "auto" (measured) unless given.
            window: items that may be ahead of a reader of `.results()`, "auto" unless given.
            keep: "values", or "none" to drop values on the worker (errors are always kept).
            log_items: True shows a line for each attempt that failed; else one group is told at the end.
            detach: True lets it go on when a stop ends a wait for it outside of flows.
            seed: where the random numbers of this map come from (`context.rng()`); the task's, or the flow's,
                unless given. These six are the task's own arguments where it has parameters of that name, or takes
                any (`**kwargs`): give them to `with_options` then.

        All iterables must have one length; strings and bytes count as single values, and
        `unmapped(x)` makes any argument one. A future list is consumed item by item. Iterators
        are pulled lazily. Raises MapError before a run exists when nothing is iterable or lengths differ.
        """
        if self._may_hide:
            self._check_seen()
        given = {name: kwargs.pop(name) for name in MAP_OPTION_NAMES & kwargs.keys() if not self.binder.takes(name)}
        chosen = options.make(MapOptions, f"{self.name}.map", given, self.options.of_maps())
        futures = _scope().map(self, args, kwargs, chosen, wait_for)
        if (block := block_here.get()) is not None:
            block.submitted(self, futures)
        return futures.wait() if return_state else futures

    def on_commit(self, hook: F) -> F:
        """Add a hook `(transaction)`, called when the transaction of a run is committed; usable as a decorator."""
        return self._hook("on_commit", hook)

    def on_rollback(self, hook: F) -> F:
        """Add a hook `(transaction)` that undoes a run, called when its transaction is rolled back."""
        return self._hook("on_rollback", hook)

    def with_options(self, **given: Unpack[TaskKeywords]) -> Task[P, R_co]:
        """A new task of the same function with some options changed; this one stays as it is."""
        if self._may_hide:
            self._check_seen()
        return _rebuild(self.plain_fn, self.options, self._binds, dict(given))

    def _detached(self, detach: bool) -> Task[P, R_co]:
        """Return this task with that `detach`: always the same one, so that its runs are one series."""
        if detach == self.options.detach:
            return self
        if self._twin is None or self._twin[0] is not self.options:
            self._twin = (self.options, self.with_options(detach=detach))
        return self._twin[1]

    def _check_seen(self) -> None:
        """Raise OptionError under a `classmethod` that shows our methods and hides the class that they are to get."""
        if not under_classmethod(self):
            self._may_hide = False
            return
        raise OptionError(
            f"task {self.name!r}: from Python 3.13 on a @classmethod above @task can only be called: put @task above "
            "@classmethod"
        )

    def _hook(self, name: str, hook: F) -> F:
        self.options: TaskOptions = options.make(
            TaskOptions, f"@task {self.name!r}", {name: (*getattr(self.options, name), hook)}, self.options
        )
        # Anew: workers may have it as it was.
        super().__init__(self.plain_fn, self.name, self.options, self.spec.source, self._of_spec)
        return hook

    @overload
    def __get__(self, instance: None, kind: type | None = None) -> Task[P, R_co]: ...
    @overload
    def __get__(
        self: Task[Concatenate[T, Q], R_co], instance: T, kind: type | None = None
    ) -> BoundTask[Q, R_co]: ...
    @overload
    def __get__(self, instance: object, kind: type | None = None) -> Task[P, R_co]: ...
    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        owner = owner_of(self._binds, instance, kind)
        return self if owner is None else BoundTask(self, owner)

    def __reduce__(self) -> Any:
        return (_rebuild, (self.fn, self.options, self._binds))

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


class BoundTask(Bound, Task[P, R_co]):
    """A task read from an instance, or from a class where it is a classmethod: `job.scale`.

    The owner is neither mapped over nor searched for futures. All that are read from one task are that task: one
    series of runs, and its code travels once. Templates and cache keys see the owner under its name (`self`).
    """

    if not TYPE_CHECKING:  # to type checkers it is that of any task

        def map(self, /, *args: Any, **kwargs: Any) -> Any:
            return self.__func__.map(unmapped(quote(self.__self__)), *args, **kwargs)


def _rebuild(
    fn: Callable[P, R], base: TaskOptions, binds: Binds = "instance", given: dict[str, Any] | None = None
) -> Task[P, R]:
    made: Task[P, R] = Task(plain(fn), given, base=base)
    made._binds = binds
    return made


def _way_out(fn: object) -> str:
    return "; @property goes above @task" if isinstance(fn, (property, functools.cached_property)) else ""


def _source_of(fn: Any, chosen: TaskOptions) -> str | None:
    if not chosen.cached:
        return None
    try:
        return inspect.getsource(inspect.unwrap(fn))
    except (OSError, TypeError):
        return None


def _scope() -> SubmitPort:
    """Return the scope of a submit here: on a worker outside the driver that of its task, unless a flow was called."""
    here, flow = context.current_task.get(), context.current_flow.get()
    if here is not None:
        here.submits = True
    if here is None and flow is not None and flow.scope is not None:
        return flow.scope
    if here is not None and here.scope is not None and flow is None:
        return here.scope
    if here is None and flow is None and (origin := strays.here()) is not None:
        return _Adopted(origin)
    return session.current().scopes.here()


class _Adopted:
    """The scope of a run for a thread that was started in it and has no context of it."""

    def __init__(self, origin: strays.Origin) -> None:
        self.origin = origin

    def submit(
        self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any = None, /
    ) -> Future:
        with strays.adopted(self.origin):
            return _scope().submit(task, args, kwargs, wait_for)

    def map(
        self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], options: MapOptions,
        wait_for: Any = None, /,
    ) -> FutureList:
        with strays.adopted(self.origin):
            return _scope().map(task, args, kwargs, options, wait_for)


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**given: Unpack[TaskKeywords]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Any = None, /, **given: Any) -> Any:
    """Make a function a task; with or without parentheses.

    Raises OptionError when an option is unknown (the nearest is named) or its value is refused.
    """
    if fn is None:
        return lambda inner: Task(inner, given)
    return Task(fn, given)


task.__doc__ = f"{task.__doc__}\n    Args:\n{options.told(TaskOptions, ' ' * 8)}\n"
