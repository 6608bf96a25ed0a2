"""`@flow` and Flow: a function whose tasks run as one program, with a state and a record."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, Literal, Protocol, Unpack, overload

from anabranch import serving
from anabranch.core import context, lazy, options, states, strays, tracebacks
from anabranch.core.decorated import AnyFlow, Hooked
from anabranch.core.descriptors import Bound, opened, owner_of
from anabranch.core.errors import MissingContextError, OptionError, ResumeError
from anabranch.core.options import FlowOptions, TaskOptions
from anabranch.core.params import Binder
from anabranch.core.reachable import plain
from anabranch.core.runnable import Runnable
from anabranch.core.type_variables import F, P, Q, R, R_co, T
from anabranch.core.walk import needs_walk
from anabranch.runs.rules import FlowRules

if TYPE_CHECKING:
    import inspect
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

    from anabranch import session as sessions
    from anabranch.core.future_lists import FutureList
    from anabranch.core.futures import Future
    from anabranch.core.keywords import FlowKeywords
    from anabranch.core.showing import Facts
    from anabranch.core.states import State
    from anabranch.core.type_variables import Items
    from anabranch.runs import flow_begin, flow_streams, given_values, resumed, submitted_flows
    from anabranch.serving.deployment import Deployment
else:
    lazy.later(globals(), "anabranch", sessions="session")
    lazy.later(globals(), "anabranch.runs", "flow_begin", "flow_streams", "given_values", "resumed", "submitted_flows")


class Flow(AnyFlow, Hooked, Generic[P, R_co]):
    """A function that runs tasks; made by `@flow`.

    Calling it runs it and returns its value (a coroutine if the function is async); futures in the
    value come back as values. `return_state=True` returns the final State and raises nothing. In a class a
    flow is a method, as a task is.

    A generator function, async or not, makes a generator flow, as with tasks. Called, it is a generator; the run
    begins with the first item and ends with the last one, or completes where the generator is closed. Submitted, or
    with `return_state=True`, its value is the list of its items. See docs/generators.md.
    """

    rules: ClassVar[FlowRules] = FlowRules()  # how its return value ends it

    def __init__(self, fn: Callable[P, Any], given: dict[str, Any] | None = None, *, base: FlowOptions | None = None):
        fn, self._binds = opened(fn)
        if not callable(fn):
            raise OptionError(f"@flow takes a function, got {fn!r}")
        self._hold(fn)
        default = getattr(fn, "__name__", type(fn).__name__).strip("<>").replace("_", "-")  # a lambda has a name too
        name = (given or {}).get("name") or (base.name if base else None) or default
        self.options: FlowOptions = options.make(FlowOptions, f"@flow {name!r}", given or {}, base)
        self.name: str = self.options.name or name
        if any(c in self.name for c in "/%&><"):
            raise OptionError(f"@flow {self.name!r}: a flow's name cannot hold any of / % & > <")
        self.binder: Binder = Binder(fn, self.name)
        self._reference: tuple[str, ...] | None = None
        self._last_run: Facts | None = None  # that has ended in this process, for notebooks
        functools.update_wrapper(self, fn, updated=())
        if self.binder.signature is not None:
            self.__signature__: inspect.Signature = self.binder.signature

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(
        self: Flow[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...
    @overload
    def __call__(
        self: Flow[P, AsyncIterator[T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[list[T]]]: ...
    @overload
    def __call__(
        self: Flow[P, Iterator[T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any
    ) -> State[list[T]]: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any
    ) -> State[R_co]: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[False] = False, wait_for: Any = None, **kwargs: Any
    ) -> R_co: ...
    def __call__(self, /, *args: Any, return_state: Any = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run the flow in this thread.

        Args:
            return_state: return the final State instead of the value, whatever it is.
            wait_for: futures (in any nesting) to wait for first.

        Futures and States among the arguments, at any depth, are waited for and become values.

        Raises:
            ParameterBindError: the arguments do not fit; no run exists then.
            UpstreamError: one of these, or of `wait_for`, did not complete; no run exists then.
            ParameterTypeError: they do not validate; the run has failed.
            The function's own exception, or the first unhandled one of its task runs.
        """
        try:
            return self._call(args, kwargs, return_state, wait_for)
        except BaseException as error:
            tracebacks.hide(error)
            raise

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool, wait_for: Any) -> Any:
        args, kwargs = self.binder.bind(args, kwargs)
        if wait_for is not None or needs_walk(args, kwargs):
            given = given_values.GivenValues(self.name, args, kwargs, wait_for)
            if given.found or given.waited:
                awaited = self.isasync and (return_state or not self.isgenerator)
                go = functools.partial(self._run, return_state=return_state)
                return given.taken(self._runnable.spec, return_state, go, awaited=awaited)
            args, kwargs = given.lifted
        return self._run(args, kwargs, return_state)

    def _run(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool,
        recorded: resumed.Recorded | None = None,
    ) -> Any:  # fmt: skip
        if self.isgenerator and not return_state:
            return flow_streams.generator_of(self, args, kwargs, recorded)
        # One that is resumed is a run of its own, wherever that is asked for.
        with strays.inside() if recorded is None else contextlib.nullcontext():
            execution = flow_begin.begin(self, args, kwargs, recorded, called=True)
        if self.isasync:
            return execution.go_async(args, kwargs, return_state)
        return execution.go(args, kwargs, return_state)

    def resume(self, run: str, *, changed: str = "ask", return_state: bool = False) -> Any:
        """Continue a recorded run of this flow without a living driver: completed task runs do not run again.

        The flow's function is called again, with the recorded parameters.

        Args:
            run: name of the run, its id, or the start of the id.
            changed: the rule for completed runs of tasks with changed code: "keep" them, "rerun" them, or "ask", which
                    is an error.
            return_state: as in a call.

        Raises:
            ResumeError: there is no such run, it was not resumable, or the code of a task has changed.
            RunTakenError: its driver is alive.
            Exception: as of a call.
        """
        if changed not in ("ask", "keep", "rerun"):
            raise ResumeError(f"changed={changed!r}: give 'ask', 'keep' or 'rerun'")
        if context.flow_here() is not None or context.current_task.get() is not None:
            raise ResumeError("a run is resumed from outside any flow or task: by the program, or `anabranch resume`")
        session = sessions.current()
        session.records.flush(30.0)
        row = session.records.flow_run(run)
        if row is None:
            raise ResumeError(f"no flow run {run!r} in the record; `anabranch runs` lists them")
        if row.flow != self.name:
            raise ResumeError(f"run {row.name!r} is one of flow {row.flow!r}, not of {self.name!r}")
        if states.is_success(row.state) and not row.run_key and not session.records.failed(row.id):
            raise ResumeError(f"run {row.name!r} has completed: there is nothing to go on with; call the flow again")
        if row.parent_run and not session.records.stored(row.id, resumed.PARAMETERS):
            raise ResumeError(f"run {row.name!r} is a subflow's: resume the run that called it, {row.parent_run}")
        parameters = resumed.parameters_of(session, row)
        args, kwargs = self.binder.bind(*self.binder.call_of(parameters))
        try:
            return self._run(args, kwargs, return_state, resumed.Recorded(row, changed))
        except BaseException as error:
            tracebacks.hide(error)
            raise

    # As of a task.
    @overload
    def submit(self: Flow[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...  # type: ignore[overload-overlap]
    @overload
    def submit(self: Flow[P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[list[T]]: ...  # type: ignore[overload-overlap]
    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R_co]: ...
    @overload
    def submit(
        self: Flow[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None,
        **kwargs: Any,
    ) -> State[T]: ...
    @overload
    def submit(
        self: Flow[P, Items[T]], /, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any
    ) -> State[list[T]]: ...
    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[True], wait_for: Any = None, **kwargs: Any
    ) -> State[R_co]: ...
    @overload
    def submit(
        self: Flow[P, Coroutine[Any, Any, T]], /, *args: Any, return_state: Literal[False] = False,
        wait_for: Any = None, **kwargs: Any,
    ) -> Future[T]: ...
    @overload
    def submit(
        self: Flow[P, Items[T]], /, *args: Any, return_state: Literal[False] = False, wait_for: Any = None,
        **kwargs: Any,
    ) -> Future[list[T]]: ...
    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[False] = False, wait_for: Any = None, **kwargs: Any
    ) -> Future[R_co]: ...
    def submit(self, /, *args: Any, return_state: Any = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run the flow in a thread of its own and return a future of it at once.

        Args:
            return_state: wait and return the final State instead.
            wait_for: futures to wait for first, in that thread.

        Futures among the arguments are waited for in that thread too; where one did not complete, the flow does not
        run, and its future is TriggerFailed. The flow around waits for it at its end, and a cancel of that flow cancels
        it too. `cancel()` of the future cancels the flow run: its task runs are cancelled, no item of it begins any
        more, and the rest of its function's work does not count. Raises ParameterBindError at once when the arguments
        do not fit.
        """
        args, kwargs = self.binder.bind(args, kwargs)
        given = given_values.GivenValues(self.name, args, kwargs, wait_for)

        def start(here: submitted_flows.Submitted) -> State:
            bad = given.failed()
            here.check()
            if bad is not None:
                return here.turned_away(given.refusal(bad), bad.run)
            values, named = given.values()
            execution = flow_begin.begin(self, values, named)
            here.as_before = execution.as_before
            if execution.run is not None:
                here.began(execution.run)
            state: State = execution.go(values, named, True)
            return state

        with strays.inside():
            future = submitted_flows.submit(sessions.current().scopes.here(), self._runnable, given, start)
        return future.wait() if return_state else future

    def _remember(self, run: Facts) -> None:
        self._last_run = run

    @functools.cached_property
    def _runnable(self) -> Runnable:
        """The flow in the form for its scope: as the task of its submitted runs."""
        return Runnable(self.plain_fn, self.name, options.make(TaskOptions, self.name, {}))

    def with_options(self, **given: Unpack[FlowKeywords]) -> Flow[P, R_co]:
        """A new flow of the same function with some options changed."""
        new: Flow[P, R_co] = Flow(self.plain_fn, dict(given), base=self.options)
        new._reference, new._binds = self._reference, self._binds
        return new

    def set_reference_tasks(self, tasks: Iterable[Runnable | Flow[..., Any] | str]) -> None:
        """Let the runs of these tasks alone decide the flow's final state."""
        self._reference = _names_of(tasks)

    def to_deployment(self, name: str, **given: Any) -> Deployment:
        """Return a deployment: fields of `Deployment`, and one of interval, cron, rrule, schedule, schedules."""
        made: Deployment = serving.to_deployment(self, name, **given)
        return made

    def deploy(self, name: str, **given: Any) -> str:
        """Deploy the flow, as `to_deployment(...).apply()`; returns the deployment's id."""
        return str(serving.deploy(self, name, **given))

    def serve(self, name: str | None = None, **given: Any) -> None:
        """Serve a deployment of the flow until Ctrl-C: its runs begin here, each in a process of its own.

        Takes what `to_deployment` and `anabranch.serve` take; global_limit: runs at once, whichever programs serve it.
        """
        serving.serve_flow(self, name, **given)

    @staticmethod
    def from_source(source: Any, entrypoint: str) -> Flow[..., Any]:
        """Return a flow from elsewhere: a folder, a git url, another address, or a reference as a dict."""
        found: Flow[..., Any] = serving.from_source(source, entrypoint)
        return found

    def register(self, project_name: str | None = None, **given: Any) -> str:
        """Deploy the flow under a project: with each call a revision, but for the same `idempotency_key`."""
        return str(serving.register(self, project_name, **given))

    def model_dump(self) -> dict[str, Any]:
        """Return what the flow says of itself as JSON has it: name, description, parameters, options, place."""
        return dict(serving.definition(self))

    def on_cancellation(self, hook: F) -> F:
        """Add a hook for runs that are cancelled."""
        return self._hook("on_cancellation", hook)

    def on_crashed(self, hook: F) -> F:
        """Add a hook for runs that an exception has ended which ends programs, such as `SystemExit`."""
        return self._hook("on_crashed", hook)

    def _hook(self, name: str, hook: F) -> F:
        merged = {name: (*getattr(self.options, name), hook)}
        self.options = options.make(FlowOptions, f"@flow {self.name!r}", merged, self.options)
        return hook

    @overload
    def __get__(self, instance: None, kind: type | None = None) -> Flow[P, R_co]: ...
    @overload
    def __get__(
        self: Flow[Concatenate[T, Q], R_co], instance: T, kind: type | None = None
    ) -> BoundFlow[Q, R_co]: ...
    @overload
    def __get__(self, instance: object, kind: type | None = None) -> Flow[P, R_co]: ...
    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        return self if (owner := owner_of(self._binds, instance, kind)) is None else BoundFlow(self, owner)

    def __reduce__(self) -> Any:
        return (_rebuild, (self.fn, self.options, self._binds))

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"


class BoundFlow(Bound, Flow[P, R_co]):
    """A flow read from an instance, or from a class where it is a classmethod."""

    def resume(self, run: str, **given: Any) -> Any:
        """Resume as a flow does; the instance is the recorded one."""
        return self.__func__.resume(run, **given)

    def set_reference_tasks(self, tasks: Iterable[Runnable | Flow[..., Any] | str]) -> None:
        self.__func__.set_reference_tasks(tasks)

    def _remember(self, run: Facts) -> None:
        self.__func__._remember(run)


def _rebuild(fn: Callable[P, R], base: FlowOptions, binds: Any) -> Flow[P, R]:
    made: Flow[P, R] = Flow(plain(fn), None, base=base)
    made._binds = binds
    return made


class MakesFlow(Protocol):
    """`flow`, or what it gives when it gets options alone; futures that a flow returns come back as values."""

    @overload
    def __call__(self, fn: Callable[P, Future[T]], /) -> Flow[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, FutureList[T]], /) -> Flow[P, list[T]]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, Future[T]]], /) -> Flow[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, FutureList[T]]], /
    ) -> Flow[P, Coroutine[Any, Any, list[T]]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(fn: Callable[P, Future[T]], /) -> Flow[P, T]: ...
@overload
def flow(fn: Callable[P, FutureList[T]], /) -> Flow[P, list[T]]: ...
@overload
def flow(fn: Callable[P, Coroutine[Any, Any, Future[T]]], /) -> Flow[P, Coroutine[Any, Any, T]]: ...
@overload
def flow(fn: Callable[P, Coroutine[Any, Any, FutureList[T]]], /) -> Flow[P, Coroutine[Any, Any, list[T]]]: ...
@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(**given: Unpack[FlowKeywords]) -> MakesFlow: ...
def flow(fn: Any = None, /, **given: Any) -> Any:
    """Make a function a flow; with or without parentheses.

    Raises OptionError when an option is unknown (the nearest is named) or its value is refused.
    """
    if fn is None:
        return lambda inner: Flow(inner, given)
    return Flow(fn, given)


flow.__doc__ = f"{flow.__doc__}\n    Args:\n{options.told(FlowOptions, ' ' * 8)}\n"


def set_reference_tasks(tasks: Iterable[Runnable | Flow[..., Any] | str]) -> None:
    """Inside a flow: let the runs of these tasks alone decide this flow run's final state.

    Raises MissingContextError outside a flow.
    """
    here = context.flow_here()
    if here is None or here.scope is None:
        raise MissingContextError("set_reference_tasks works inside a flow; outside: my_flow.set_reference_tasks(...)")
    here.scope.reference_tasks = _names_of(tasks)


def _names_of(tasks: Iterable[Any]) -> tuple[str, ...]:
    return tuple(getattr(task, "name", task) for task in tasks)
