"""`@task` and Task: call it, submit it, map it."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from anabranch import calls, session
from anabranch.core import context, options
from anabranch.core.errors import OptionError
from anabranch.core.options import MAP_OPTION_NAMES, MapOptions, TaskOptions
from anabranch.runnables import Runnable, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.futures import Future, FutureList
    from anabranch.core.states import State

P = ParamSpec("P")
R = TypeVar("R")


def _nothing() -> None:
    """What a Task without a function runs, as in Prefect 1: `Task(state_handlers=[...])`."""


_nothing.__name__ = "Task"

class Task(Runnable, Generic[P, R]):
    """A function that can be called, submitted and mapped; made by `@task`.

    `task(x)` runs now and returns the value (a coroutine if the function is async), `task.submit(x)` returns
    a future, `task.map(xs)` a future list. `.fn` is the plain function. A Task is also a descriptor, so
    methods work.

    A generator function, async or not, makes a generator task: submitted, its value is the list of its items;
    called, it is a generator, whose run begins with the first item and ends with the last one, or completes where
    it is closed. Such a call is tried again only while it has given nothing, its `timeout_seconds` counts its
    own code alone, and neither cache nor store have a part in it. See docs/generators.md.
    """

    def __init__(
        self,
        fn: Callable[P, R] = _nothing,  # type: ignore[assignment]
        given: dict[str, Any] | None = None,
        *,
        base: TaskOptions | None = None,
        **more: Any,
    ) -> None:
        given = {**(given or {}), **more}
        if isinstance(fn, (staticmethod, classmethod)):
            raise OptionError(f"@task goes under @{type(fn).__name__}, not above it")
        if not callable(fn):
            raise OptionError(f"@task wants a function, got {fn!r}")
        name = (given or {}).get("name") or (base.name if base else None) or name_of(fn)
        chosen: TaskOptions = options.make(TaskOptions, f"@task {name!r}", given or {}, base)
        super().__init__(fn, chosen.name or name, chosen, _source_of(fn, chosen))
        functools.update_wrapper(self, fn, updated=())

    # -- the four ways to run --------------------------------------------------------------------

    def __call__(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run now, in this thread, and return the value; `return_state=True` returns the State instead.

        A generator task gives its items. Raises the function's own exception, UpstreamError when an argument is a
        future that failed, OptionError when `return_state` is asked of a generator task.
        """
        return calls.call(self, args, kwargs, return_state=return_state, wait_for=wait_for)

    @overload
    def submit(
        self, *args: Any, return_state: Literal[False] = False, wait_for: Any = None, **kwargs: Any
    ) -> Future: ...
    @overload
    def submit(self, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any) -> State: ...
    def submit(
        self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any
    ) -> Future | State:
        """Run on the flow's runner and return a future at once.

        Args:
            return_state: wait and return the final state instead of the future.
            wait_for: futures (in any nesting) to wait for without reading their values.

        Arguments may hold futures at any depth: the run starts when they have ended and gets their
        values. Raises ParameterBindError at once when the arguments do not fit.
        """
        future: Future = _scope().submit(self, args, kwargs, wait_for)
        return future.wait() if return_state else future

    def map(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run once per element of the iterable arguments; one future list for all.

        Args:
            return_state: wait and return the list of states instead.
            wait_for: futures that every item waits for.
            chunk: items per chunk, "auto" (measured) unless given.
            window: items that may be ahead of a reader of `.results()`, "auto" unless given.
            keep: "values", or "none" to drop values on the worker (errors are always kept).

        All iterables must have one length; strings and bytes count as single values, and
        `unmapped(x)` makes any argument one. A future list is consumed item by item. Iterators
        are pulled lazily. Raises MapError before a run exists when nothing is iterable or lengths differ.
        """
        given = {name: kwargs.pop(name) for name in MAP_OPTION_NAMES & kwargs.keys() if name not in self.binder.names}
        chosen = options.make(MapOptions, f"{self.name}.map", given)
        futures: FutureList = _scope().map(self, args, kwargs, chosen, wait_for)
        return futures.wait() if return_state else futures

    def with_options(self, **given: Any) -> Task[P, R]:
        """A new task of the same function with some options changed; this one stays as it is."""
        return Task(self.fn, given, base=self.options)

    # -- decorators for hooks --------------------------------------------------------------------

    def on_completion(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook `(task, run, state)` for runs that complete; usable as a decorator."""
        return self._hook("on_completion", hook)

    def on_failure(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook for runs that fail for good."""
        return self._hook("on_failure", hook)

    def on_running(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook for each attempt that starts."""
        return self._hook("on_running", hook)

    def _hook(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        self.options = options.make(
            TaskOptions, f"@task {self.name!r}", {name: (*getattr(self.options, name), hook)}, self.options
        )
        super().__init__(self.fn, self.name, self.options, self.spec.source)  # workers may have it as it was
        return hook

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        bound = Task(functools.partial(self.fn, owner), None, base=self.options)
        bound.name = self.name
        bound.spec.name = self.name
        return bound

    def __reduce__(self) -> Any:
        return (_rebuild, (self.fn, self.options))

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


def _rebuild(fn: Callable[..., Any], base: TaskOptions) -> Task[..., Any]:
    return Task(fn, None, base=base)


def _source_of(fn: Any, chosen: TaskOptions) -> str | None:
    if not chosen.cached:
        return None
    try:
        return inspect.getsource(inspect.unwrap(fn))
    except (OSError, TypeError):
        return None


def _scope() -> Any:
    """Where a submit here goes: on a worker outside the driver its task's own scope, unless a flow was called there."""
    here, flow = context.current_task.get(), context.current_flow.get()
    if here is None and flow is not None and flow.scope is not None:
        return flow.scope
    if here is not None and here.scope is not None and flow is None:
        return here.scope
    return session.current().scope_here()


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**given: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Any = None, /, **given: Any) -> Any:
    """Make a function a task; with or without parentheses.

    Args:
        given: options, see `core.options.TaskOptions`: name, retries, retry_delay_seconds, retry_on,
            retry_condition_fn, timeout_seconds, cache_policy, cache_key_fn, cache_expiration, tags,
            trigger, hooks (on_completion, ...), state_handlers, cpus, memory, priority, ...

    Raises:
        OptionError: an option is unknown (the nearest is named) or its value is refused.
    """
    if fn is None:
        return lambda inner: Task(inner, given)
    return Task(fn, given)
