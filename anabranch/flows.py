"""`@flow` and Flow: a function whose tasks run as one program, with a state and a record."""

from __future__ import annotations

import functools
import inspect
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from anabranch import ends, flow_slots, logs, resumption, subflows
from anabranch import session as sessions
from anabranch.core import context, options, secrets, states
from anabranch.core.context import FlowContext
from anabranch.core.errors import CancelledRun, MissingContextError, OptionError, ResumeError
from anabranch.core.failures import exception_of
from anabranch.core.options import FlowOptions, TaskOptions
from anabranch.core.params import Binder
from anabranch.core.runs import FlowRunRow, TransitionRow, json_parameters
from anabranch.core.validate import validate_call
from anabranch.core.walk import fill, lift
from anabranch.engine import drive
from anabranch.engine.final_state import Runs
from anabranch.engine.flow_run import FlowAttempt, FlowResult, flow_run
from anabranch.returned import resolve_returned
from anabranch.runnables import Runnable
from anabranch.scope import Scope, is_future

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.states import State
    from anabranch.resumption import Recorded
    from anabranch.session import Session
    from anabranch.tickets import Inside

KNOWN_SECONDS = 1.0  # at most, for a resumable run to be committed before its function begins
P = ParamSpec("P")
R = TypeVar("R")


class Flow(Generic[P, R]):
    """A function that runs tasks; made by `@flow`.

    Calling it runs it and returns its value (a coroutine if the function is async); futures in the
    value come back as values. `return_state=True` returns the final State and raises nothing.
    """

    def __init__(self, fn: Callable[P, R], given: dict[str, Any] | None = None, *, base: FlowOptions | None = None):
        if not callable(fn):
            raise OptionError(f"@flow wants a function, got {fn!r}")
        self.fn = fn
        default = getattr(fn, "__name__", type(fn).__name__).replace("_", "-")
        name = (given or {}).get("name") or (base.name if base else None) or default
        self.options: FlowOptions = options.make(FlowOptions, f"@flow {name!r}", given or {}, base)
        self.name = self.options.name or name
        if any(c in self.name for c in "/%&><"):
            raise OptionError(f"@flow {self.name!r}: a flow's name cannot hold any of / % & > <")
        self.binder = Binder(fn, self.name)
        self.isasync = inspect.iscoroutinefunction(fn)
        self._reference: tuple[str, ...] | None = None
        self._series: Runnable | None = None  # its submitted runs, as the record sees them
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run the flow in this thread.

        Args:
            return_state: return the final State instead of the value, whatever it is.
            wait_for: futures to wait for first.

        Raises:
            ParameterBindError: the arguments do not fit; no run exists then.
            ParameterTypeError: they do not validate; the run has failed.
            The function's own exception, or the first unhandled one of its task runs.
        """
        args, kwargs = self.binder.bind(args, kwargs)
        args, kwargs = _values_for(args, kwargs, wait_for)
        return self._run(FlowRun(self, args, kwargs), args, kwargs, return_state)

    def _run(self, run: FlowRun, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        if self.isasync:
            return run.go_async(args, kwargs, return_state)
        return run.go(args, kwargs, return_state)

    def resume(self, run: str, *, changed: str = "ask", return_state: bool = False) -> Any:
        """Go on with a recorded run of this flow, whose driver is gone: what it has completed does not run again.

        The flow's function is called again, with the parameters of then.

        Args:
            run: name of the run, its id, or the start of the id.
            changed: what becomes of completed runs of tasks whose code is another one now: "keep" them, "rerun"
                them, or "ask", which is an error.
            return_state: as in a call.

        Raises:
            ResumeError: there is no such run, it was not resumable, or the code of a task has changed.
            RunTakenError: its driver is alive.
            What a call raises.
        """
        if changed not in ("ask", "keep", "rerun"):
            raise ResumeError(f"changed={changed!r}: give 'ask', 'keep' or 'rerun'")
        if context.current_flow.get() is not None or context.current_task.get() is not None:
            raise ResumeError("a run is resumed from outside any flow or task: by the program, or `anabranch resume`")
        session = sessions.current()
        session.records.flush(30.0)
        row = session.records.flow_run(run)
        if row is None:
            raise ResumeError(f"no flow run {run!r} in the record; `anabranch runs` lists them")
        if row.flow != self.name:
            raise ResumeError(f"run {row.name!r} is one of flow {row.flow!r}, not of {self.name!r}")
        if states.is_success(row.state) and not row.run_key:
            raise ResumeError(f"run {row.name!r} has completed: there is nothing to go on with; call the flow again")
        if row.parent_run:
            raise ResumeError(f"run {row.name!r} is a subflow's: resume the run that called it, {row.parent_run}")
        parameters = resumption.parameters_of(session, row)
        args, kwargs = self.binder.bind((), parameters)
        wanted = resumption.Recorded(row, changed)
        return self._run(FlowRun(self, args, kwargs, wanted), args, kwargs, return_state)

    def submit(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run the flow in a thread of its own and return a future of it at once.

        Args:
            return_state: wait and return the final State instead.
            wait_for: futures to wait for first, in that thread.

        Futures among the arguments are waited for in that thread too. The flow around waits for it at
        its end, and takes it along when it is cancelled. Raises ParameterBindError at once when the
        arguments do not fit.
        """
        args, kwargs = self.binder.bind(args, kwargs)
        if self._series is None:
            self._series = Runnable(self.fn, self.name, options.make(TaskOptions, self.name, {}))

        def start() -> State:
            values, named = _values_for(args, kwargs, wait_for)
            state: State = FlowRun(self, values, named).go(values, named, True)
            return state

        future = subflows.submit(sessions.current().scope_here(), self._series, start)
        return future.wait() if return_state else future

    def with_options(self, **given: Any) -> Flow[P, R]:
        """A new flow of the same function with some options changed."""
        new: Flow[P, R] = Flow(self.fn, given, base=self.options)
        new._reference = self._reference
        return new

    def set_reference_tasks(self, tasks: Any) -> None:
        """Let the runs of these tasks alone decide the flow's final state."""
        self._reference = tuple(getattr(t, "name", t) for t in tasks)

    def on_completion(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook `(flow, run, state)` for runs that complete; usable as a decorator."""
        return self._hook("on_completion", hook)

    def on_failure(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook for runs that fail for good."""
        return self._hook("on_failure", hook)

    def on_cancellation(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        return self._hook("on_cancellation", hook)

    def on_crashed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        return self._hook("on_crashed", hook)

    def on_running(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        return self._hook("on_running", hook)

    def _hook(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        merged = {name: (*getattr(self.options, name), hook)}
        self.options = options.make(FlowOptions, f"@flow {self.name!r}", merged, self.options)
        return hook

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"


def _values_for(args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Futures among a flow's arguments become values: values cross runners where flows begin."""
    if wait_for is not None:
        for future, _ in lift(wait_for, is_future)[1]:
            future.wait()
    lifted, found = lift((args, kwargs), is_future)
    if not found:
        return args, kwargs
    filled: Any = fill(lifted, [f.result(raise_on_failure=not allow) for f, allow in found])
    return filled[0], filled[1]


class FlowRun:
    """One run of a flow, as hooks see it; implements what `engine.flow_run` needs of the world."""

    def __init__(
        self, flow: Flow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], recorded: Recorded | None = None
    ) -> None:
        self.flow = flow
        self.session: Session = sessions.current()
        self.parameters = flow.binder.as_dict(args, kwargs)
        secrets.remember(self.parameters, *self.parameters.values())
        parent = context.current_flow.get()
        begin = resumption.beginning(self.session, flow.name, flow.options, self.parameters, parent, recorded)
        earlier = begin.row
        self.id = earlier.id if earlier is not None else self.session.ids.new()
        given = earlier.name if earlier is not None else _run_name(flow, self.parameters)
        self.name = given or self.session.ids.name()
        self.attempt = self.before = earlier.attempt if earlier is not None else 0
        self.tags = tuple(dict.fromkeys((*flow.options.tags, *context.current_tags.get())))
        self.parent = parent
        wanted = flow.options.runner
        task = context.current_task.get()
        if parent is None and task is not None and task.scope is not None:
            wanted = "inline"  # called on a worker: it has this worker, no more
        elif wanted is None:
            wanted = parent.scope.session_runner if parent is not None else self.session.settings.runner
        self.shared = self.session.use_runner(wanted)
        self.scope = Scope(self.session, self.shared.lane, flow_run_id=self.id, flow_run_name=self.name)
        self.scope.session_runner = wanted
        self.scope.parameters = self.parameters
        self.scope.log_prints = self._log_prints()
        resumption.give(self.scope, begin)
        self.cancelled = False
        self.slots: Inside | None = None  # while it waits for them, or has them
        self._zero = 0.0  # when it started, by the clock that nobody sets
        self.ended_by: ends.Kind | None = None  # a signal
        self.over = threading.Event()  # it has ended, and so says the record
        self.row = FlowRunRow(
            self.id, flow.name, self.name, states.PENDING, "Pending", created=self.session.clock.time(),
            parent_run=parent.id if parent is not None else "", version=flow.options.version or "",
            runner=self.session.pump.dispatcher.lanes[self.shared.lane].capabilities.name, tags=self.tags,
            parameters=json_parameters(self.parameters), resumable=begin.resumable, run_key=begin.key,
            entry=resumption.entry_of(flow.fn) if begin.resumable else "", token=begin.token,
        )  # fmt: skip
        if earlier is not None:
            self.row.created, self.row.attempt = earlier.created, earlier.attempt
        elif begin.resumable and parent is None:
            asked = flow.options.resumable is True
            resumption.keep_parameters(self.session, self.id, self.parameters, asked=asked)
        self._thread = threading.get_ident()

    def _log_prints(self) -> bool:
        if self.flow.options.log_prints is not None:
            return self.flow.options.log_prints
        return self.parent.log_prints if self.parent is not None else False

    @property
    def flow_name(self) -> str:
        return self.flow.name

    @property
    def run_count(self) -> int:
        return self.attempt

    # -- running ---------------------------------------------------------------------------------

    def go(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        with self._entered(), flow_slots.queued(self) as slots, slots:
            result: FlowResult = flow_slots.given_up(self) or drive.run(self._policy(args, kwargs))
        return self._answer(result, return_state)

    async def go_async(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        with self._entered(), flow_slots.queued(self) as slots:
            async with slots:
                ended = flow_slots.given_up(self)
                result: FlowResult = await drive.run_async(self._policy(args, kwargs)) if ended is None else ended
        return self._answer(result, return_state)

    def _policy(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        attempt = FlowAttempt(
            self.flow, self, self.flow.fn, self.flow.options, self, random.Random(), attempt=self.before,
            before=self.before,
        )  # fmt: skip
        return flow_run(attempt, args, kwargs)

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """The flow's context around its function; the record begins and ends with it."""
        where = FlowContext(
            self.id, self.name, self.flow.name, 1, self.tags, self.parameters, self.scope, self.scope.log_prints
        )
        flow_token = context.current_flow.set(where)
        task_token = context.current_task.set(None)
        tags_token = context.current_tags.set(self.tags)
        try:
            self.session.scopes[self.id] = self.scope
            self.session.begin(self.row, self.cancel)
            if self.parent is not None:
                self.parent.scope.children.append(self)
            logs.flow_began(self)
            with ends.heard(self), logs.prints(self.scope.log_prints):
                yield
        finally:
            context.current_tags.reset(tags_token)
            context.current_task.reset(task_token)
            context.current_flow.reset(flow_token)
            if self.parent is not None and self in self.parent.scope.children:
                self.parent.scope.children.remove(self)
            self.scope.close()
            resumption.close(self.scope)
            self.session.scopes.pop(self.id, None)
            self.session.end(self.id)
            self.session.leave_runner(self.shared)
            self.session.flush_records()
            if self.parent is None and states.is_success(self.row.state) and not self.row.run_key:
                resumption.forget_values(self.scope)
            self.over.set()

    def _answer(self, result: FlowResult, return_state: bool) -> Any:
        error = ends.leaving(self, result.error)
        fatal = isinstance(error, BaseException) and not isinstance(error, Exception)
        if fatal or (error is not None and not return_state):
            assert error is not None
            try:
                raise error
            finally:
                del error, result
        if return_state:
            return result.state
        return result.value

    # -- what the policy asks --------------------------------------------------------------------

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self.flow.options.validate_parameters:
            return args, kwargs
        return validate_call(self.flow.fn, args, kwargs, name=self.flow.name)

    def changed(self, state: State, attempt: int) -> None:
        now = self.session.clock.time()
        self.row.state, self.row.state_name, self.row.message = state.code, state.name, state.message
        self.row.attempt = attempt
        state.run_id = self.id
        if state.is_running() and self.row.started is None:
            self.row.started, self._zero = now, self.session.clock.monotonic()
        if state.is_final():
            self.session.pump.drain_aside(5.0)  # lines of its task runs come before its own last one
            self.row.ended = now
            if self.row.started is not None:  # whatever the wall clock was set to meanwhile
                self.row.ended = self.row.started + self.session.clock.monotonic() - self._zero
        row = TransitionRow(self.id, -1, attempt, state.code, state.name, state.message, now)
        self.session.write([_copy(self.row), row])
        if state.is_running() and self.row.resumable and self.parent is None:  # who sees its name can go on with it
            self.session.records.flush(KNOWN_SECONDS)
        logs.flow_changed(self, state)
        ends.tell(self, state)

    def settle(self, raised: bool = False) -> None:
        if self.flow.options.on_exit == "cancel":
            self.scope.cancel_all(expected=True)
        elif raised:
            self.scope.stop_pulling()
        self.scope.wait_all()
        if self.cancelled:
            raise CancelledRun(f"flow run {self.name!r} was cancelled")

    def abort(self, by: str) -> None:
        self.scope.cancel_all(by=by)
        self.scope.wait_all(self.session.settings.shutdown_grace)

    def wind_up(self, error: BaseException) -> None:
        ends.wind_up(self, error)

    def hurry(self) -> None:
        ends.hurry(self)

    def interrupted(self, error: BaseException) -> State:
        return ends.state_of(self, error)

    def cancel(self, by: str = "request") -> None:
        """Cancel the run from elsewhere: what has not started never will."""
        self.cancelled = True
        if self.slots is not None:
            self.slots.abandon()
        self.scope.cancel_all(by=by)

    def resolve(self, value: Any) -> tuple[Any, Any]:
        return resolve_returned(value)

    def runs(self) -> Runs:
        unhandled, total, first = self.scope.unhandled()
        error = exception_of(*first) if first is not None else None
        return Runs(total, unhandled, error)

    def reference(self) -> list[State] | None:
        names = self.scope.reference_tasks or self.flow._reference
        if names is None:
            return None
        found = []
        for map in self.scope.maps:
            if map.spec.name in names:
                found += [_with_error(map, i) for i in range(len(map.codes))]
        return found

    def warn(self, message: str) -> None:
        logs.flow_warning(self, message)

    def begin_again(self) -> None:
        resumption.begin_again(self.scope)


def _with_error(map: Any, index: int) -> State:
    state: State = map.state(index)
    if not state.is_completed():
        state.data = exception_of(map, index)
    return state


def _copy(row: FlowRunRow) -> FlowRunRow:
    return FlowRunRow(*(getattr(row, name) for name in FlowRunRow.__slots__))


def _run_name(flow: Flow[..., Any], parameters: dict[str, Any]) -> str | None:
    given = flow.options.flow_run_name
    if given is None:
        return None
    try:
        name = given.format(**parameters) if isinstance(given, str) else given()
    except (KeyError, IndexError) as error:
        known = ", ".join(parameters) or "none"
        raise OptionError(
            f"@flow {flow.name!r}: flow_run_name {given!r} names {error}, which is no parameter; known are: {known}"
        ) from None
    if not isinstance(name, str):
        raise OptionError(f"@flow {flow.name!r}: flow_run_name gave {name!r}, which is no string")
    return name


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(**given: Any) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Any = None, /, **given: Any) -> Any:
    """Make a function a flow; with or without parentheses.

    Args:
        given: options, see `core.options.FlowOptions`: name, runner, retries, timeout_seconds,
            flow_run_name, log_prints, on_exit, strict, hooks, state_handlers, ...

    Raises:
        OptionError: an option is unknown (the nearest is named) or its value is refused.
    """
    if fn is None:
        return lambda inner: Flow(inner, given)
    return Flow(fn, given)


def set_reference_tasks(tasks: Any) -> None:
    """Inside a flow: let the runs of these tasks alone decide this flow run's final state.

    Raises MissingContextError outside a flow.
    """
    here = context.current_flow.get()
    if here is None:
        raise MissingContextError("set_reference_tasks works inside a flow; outside: my_flow.set_reference_tasks(...)")
    here.scope.reference_tasks = tuple(getattr(t, "name", t) for t in tasks)
