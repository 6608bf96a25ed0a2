"""One run of a flow: its context, its scope and its row in the record, from the call to the final state."""

from __future__ import annotations

import functools
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anabranch import logs, prints
from anabranch import session as sessions
from anabranch.core import context, forks, own_runners, secrets, states, strays
from anabranch.core.context import FlowContext, TaskContext, given_name
from anabranch.core.errors import CancelledRun, OptionError
from anabranch.core.exceptions import twin
from anabranch.core.failures import exception_of, kept, leaving
from anabranch.core.runs import FlowRunRow, TransitionRow, json_parameters
from anabranch.core.states import Completed, Pending, State, StateType
from anabranch.core.validate import validate_call
from anabranch.core.waiting import wake_loop
from anabranch.driver.scope import Scope, scope_of
from anabranch.engine import drive
from anabranch.engine.final_state import Runs
from anabranch.engine.flow_run import FlowAttempt, FlowResult, flow_run
from anabranch.engine.steps import Call
from anabranch.runs import flow_queue, resumed, shutdown, signals
from anabranch.runs.returned import resolve_item, resolve_returned

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from anabranch.engine.steps import Step
    from anabranch.limits.tickets import Inside
    from anabranch.runs.definition import FlowDefinition
    from anabranch.runs.resumed import Recorded
    from anabranch.session import Session

KNOWN_SECONDS = 1.0  # longest wait for the commit of a resumable run before its function begins


class FlowRun:
    """One run of a flow, as hooks see it; implements `engine.flow_run.FlowWorld`."""

    def __init__(
        self, flow: FlowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], recorded: Recorded | None = None,
        *, called: bool = False, streams: bool = False,
    ) -> None:  # fmt: skip
        self.flow = flow
        self.session: Session = sessions.current()
        self.parameters = flow.binder.as_dict(args, kwargs)
        secrets.remember(self.parameters, *self.parameters.values())
        task = context.current_task.get()
        parent = context.flow_here() or self._flow_of(task)
        begin = resumed.beginning(
            self.session, flow.name, flow.options, self.parameters, parent, recorded, streams=streams
        )
        earlier = begin.row
        self.id = earlier.id if earlier is not None else self.session.ids.new()
        self.misnamed: OptionError | None = None  # why `flow_run_name` gave it no name
        given = earlier.name if earlier is not None else self._given_name()
        self.name = given or self.session.ids.name()
        self.attempt = self.before = earlier.attempt if earlier is not None else 0
        self.tags = tuple(dict.fromkeys((*flow.options.tags, *context.current_tags.get())))
        self.parent = parent
        self._scope_around = None if parent is None else scope_of(parent)
        self._caller = context.task_around() if called else None  # the task that called it, in the same thread
        self._counts = called and parent is not None and task is None  # it counts as a run of the flow around
        self.ended_by: signals.Kind | None = None  # the signal that ended it
        self.state: State = Pending()
        self.as_before = begin.as_before  # it completed before, with these inputs and this code
        self.completed: FlowResult | None = None  # its result in an earlier attempt of the flow around it
        if begin.value is not None and earlier is not None:
            state = State(StateType.COMPLETED, earlier.state_name, earlier.message, *begin.value, run_id=self.id)
            self.completed = FlowResult(state, *begin.value)
            return
        around = self._scope_around
        self._outermost = around is None or around.resume is None  # of those that may go on
        if around is not None:
            around.check_goes_on()
        wanted = flow.options.runner
        if parent is None and task is not None and task.scope is not None:
            wanted = "inline"  # called on a worker, which is all it has
        elif wanted is None:
            default = own_runners.around() or self.session.settings.runner
            wanted = around.session_runner if around is not None else default
        self.shared = self.session.runners.use(wanted)
        self.scope = Scope(
            self.session.program, self.shared.lane, flow_run_id=self.id, flow_run_name=self.name,
            parameters=self.parameters, log_prints=self._log_prints(),
        )  # fmt: skip
        self.scope.session_runner = wanted
        resumed.give(self.session, self.scope, begin, parent)
        self.cancelled = False
        self._decided = False  # its end is decided: too late to cancel it
        self._fate = threading.Lock()
        self._told = threading.Event()  # it is cancelled
        self._wake: Callable[[], None] | None = None  # wakes a coroutine that waits for the cancel
        self.slots: Inside | None = None  # its slots, held or waited for
        self._zero = 0.0  # its start, by the monotonic clock
        self.over = threading.Event()  # it has ended, and its end is recorded
        self.row = FlowRunRow(
            self.id, flow.name, self.name, states.PENDING, "Pending", created=self.session.clock.time(),
            parent_run=parent.id if parent is not None else "", version=flow.options.version or "",
            runner=self.session.pump.dispatcher.tables.lanes[self.shared.lane].capabilities.name, tags=self.tags,
            parameters=json_parameters(self.parameters), resumable=begin.resumable, run_key=begin.key,
            entry=resumed.entry_of(flow.plain_fn) if begin.resumable else "", token=begin.token,
        )  # fmt: skip
        if earlier is not None:
            self.row.created, self.row.attempt = earlier.created, earlier.attempt
        elif begin.resumable and parent is None:
            asked = flow.options.resumable is True
            resumed.keep_parameters(self.session, self.id, self.parameters, asked=asked)
        self.here = FlowContext(
            self.id, self.name, self.flow.name, 1, self.tags, self.parameters, self.scope, self.scope.log_prints,
            self.row.version, self._caller,
        )  # fmt: skip
        self._thread = threading.get_ident()

    def _flow_of(self, task: TaskContext | None) -> FlowContext | None:
        """Return the flow run of a task that runs in a thread of this program."""
        if task is None or task.scope is not None:
            return None
        scope = self.session.scopes.known.get(task.run.flow_run_id)
        return None if scope is None else scope.flow

    def _given_name(self) -> str:
        given = self.flow.options.flow_run_name
        if given is None:
            return ""
        try:
            return given_name(given, self.parameters, f"@flow {self.flow.name!r}: flow_run_name")
        except OptionError as error:
            self.misnamed = error
            return ""

    def _log_prints(self) -> bool:
        if self.flow.options.log_prints is not None:
            return self.flow.options.log_prints
        return self.parent.log_prints if self.parent is not None else False

    @property
    def isasync(self) -> bool:
        return self.flow.isasync

    @property
    def flow_name(self) -> str:
        return self.flow.name

    @property
    def flow_run_id(self) -> str:
        """Its own id, under the name that a task run has for it, so that one hook may serve both."""
        return self.id

    @property
    def flow_run_name(self) -> str:
        return self.name

    @property
    def run_count(self) -> int:
        return self.attempt

    @property
    def start_time(self) -> float:
        """Unix seconds of its start, 0.0 before."""
        return self.row.started or 0.0

    @property
    def end_time(self) -> float:
        return self.row.ended or 0.0

    # -- running ---------------------------------------------------------------------------------

    def go(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        if self.completed is not None:
            return self._answer(self.completed, return_state)
        try:
            with self._entered(), flow_queue.queued(self) as slots, slots:
                ended, policy = flow_queue.given_up(self), self._policy(args, kwargs)
                result: FlowResult = ended or drive.run(policy, sleep=self._told.wait)  # a cancel cuts a delay short
                self._keep(result)
        except forks.Copied as copy:
            value = copy.outcome()
            return Completed(data=value) if return_state else value
        try:
            return self._answer(result, return_state)
        finally:
            del result, ended  # a raised error refers to this frame, which must not refer back

    async def go_async(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        if self.completed is not None:
            return self._answer(self.completed, return_state)
        try:
            with self._entered(), flow_queue.queued(self) as slots:
                async with slots:
                    ended = flow_queue.given_up(self)
                    policy = self._policy(args, kwargs)
                    result: FlowResult = await drive.run_async(policy, sleep=self._pause) if ended is None else ended
                    self._keep(result)
        except forks.Copied as copy:  # closing the loop, which both processes share, would disable the other one
            forks.leave(copy.error)
        try:
            return self._answer(result, return_state)
        finally:
            del result, ended

    def _keep(self, result: FlowResult) -> None:
        if result.state.is_completed() and self.parent is not None and self.flow.options.persist_result is not False:
            resumed.keep_value(self.session, self.scope, result.value)

    async def _pause(self, seconds: float) -> None:
        """Sleep on the running loop; a cancel of the run ends the sleep."""
        import asyncio

        loop = asyncio.get_running_loop()
        told = loop.create_future()
        self._wake = functools.partial(wake_loop, loop, told)
        if not self._told.is_set():
            await asyncio.wait({told}, timeout=seconds)

    def stream(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Step, Any, Any]:
        """Return the policy of a run that gives its items to its caller; `inside` goes around its steps."""
        with self._registered(), signals.listening(self), flow_queue.queued(self) as slots:
            yield Call(slots.__aenter__ if self.flow.isasync else slots.__enter__, blocking=not self.flow.isasync)
            try:
                self._told_of_streams(True)
                result: FlowResult = flow_queue.given_up(self) or (
                    yield from self._policy(args, kwargs, streams=True)
                )
            finally:
                self._told_of_streams(False)
                slots.__exit__(None, None, None)
        return self._answer(result, False)

    @property
    def read_by_task(self) -> bool:
        """Whether a task called this generator flow and has not ended."""
        return self._caller is not None and not self._caller.over

    def _told_of_streams(self, begun: bool) -> None:
        """Register the open generator with the flow around, or the session: its reader may never come back."""
        around = self._scope_around
        streams = self.session.streams if around is None else around.endings.streams
        if begun:
            streams.append(self)
        elif self in streams:
            streams.remove(self)

    def left_open(self, *, last: bool = False) -> None:
        """End the run with the flow around, or the program (`last`), while the generator is still held."""
        if last:
            self.abort("flow-end")
        state: State = Completed("not all of its items were read")
        try:
            self.settle()
        except CancelledRun as error:
            state = self.interrupted(error)
        if self._given_up(True) is None or state.is_cancelled():
            self.changed(state, self.attempt)
        self._end()

    def _policy(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, streams: bool = False) -> Any:
        attempt = FlowAttempt(
            self.flow, self, self.flow.plain_fn, self.flow.options, self, random.Random(), attempt=self.before,
            before=self.before, streams=streams, given_up=self._given_up,
        )  # fmt: skip
        return flow_run(attempt, args, kwargs)

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Enter the flow's context around its function; the record begins and ends with it."""
        with self._registered(), self.inside():
            yield

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let code in this block belong to this run."""
        flow_token = context.current_flow.set(self.here)
        task_token = context.current_task.set(None)
        tags_token = context.current_tags.set(self.tags)
        try:
            with signals.heard(self), prints.prints(self.scope.log_prints):
                yield
        finally:
            context.current_tags.reset(tags_token)
            context.current_task.reset(task_token)
            context.current_flow.reset(flow_token)

    @contextmanager
    def _registered(self) -> Iterator[None]:
        """Register the run with the session and the record for this block."""
        self.scope.flow = self.here
        strays.follow()
        try:
            self.session.scopes.known[self.id] = self.scope
            self.session.keeper.begin(self.row, self.cancel)
            around = self._scope_around
            if around is not None:
                around.endings.children.append(self)
                around.endings.called_flows += self._counts
                if around.given_up:  # who cancels it has seen this run by now, or is seen here
                    self.cancel(around.given_up)
            logs.flow_began(self)
            yield
        finally:
            self._end()

    def _end(self) -> None:
        """Clean up after the run has ended, or was left open."""
        if self.over.is_set() or self.session.pump.elsewhere:
            return
        around = self._scope_around
        if around is not None and self in around.endings.children:
            around.endings.children.remove(self)
        self.scope.close()
        resumed.close(self.session, self.scope)
        self.session.scopes.known.pop(self.id, None)
        self.session.keeper.end(self.id)
        self.session.runners.leave(self.shared)
        self.session.flush_records()
        nobody = self.parent is not None  # can go on with it later: its own retries are over
        if self._outermost and (nobody or (states.is_success(self.row.state) and not self.row.run_key)):
            resumed.forget_values(self.session, self.scope)
        self.scope.let_go()
        self.over.set()

    def _answer(self, result: FlowResult, return_state: bool) -> Any:
        error = shutdown.leaving(self, result.error)
        fatal = isinstance(error, BaseException) and not isinstance(error, Exception)
        if fatal or (error is not None and not return_state):
            assert error is not None
            if self.state.data is error:  # hooks may hold this run, which must not hold a raised error
                self.state = self.state.with_data(kept(twin(error)))
            try:
                raise leaving(error)
            finally:
                del error, result
        if not return_state:
            return result.value
        state = result.state
        if isinstance(state.data, BaseException):
            kept(state.data)
        if self._counts and self._scope_around is not None and not state.is_completed():
            state = state.with_data(state.exception())
            self._scope_around.leave_ended(state, self.flow._runnable.spec)
        return state

    # -- what the policy asks --------------------------------------------------------------------

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.misnamed is not None:
            raise self.misnamed
        if not self.flow.options.validate_parameters:
            return args, kwargs
        return validate_call(self.flow.plain_fn, args, kwargs, name=self.flow.name)

    def changed(self, state: State, attempt: int) -> None:
        if self.over.is_set():  # it was left open: its generator goes on, outside the record
            return
        now = self.session.clock.time()
        self.state = state
        self.row.state, self.row.state_name, self.row.message = state.code, state.name, state.message
        self.row.attempt = attempt
        self.here.attempt = max(1, attempt)
        state.run_id = self.id
        if state.is_running() and self.row.started is None:
            self.row.started, self._zero = now, self.session.clock.monotonic()
        if state.is_final():
            self.session.pump.callback_thread.drain(5.0)  # lines of its task runs come before its own last one
            self.row.ended = now
            if self.row.started is not None:  # measured by the monotonic clock: the wall clock may have been set
                self.row.ended = self.row.started + self.session.clock.monotonic() - self._zero
        row = TransitionRow(self.id, -1, attempt, state.code, state.name, state.message, now)
        self.session.write([_copy(self.row), row])
        if state.is_running() and self.row.resumable and self.parent is None:  # from here on it can be resumed by name
            self.session.records.flush(KNOWN_SECONDS)
        logs.flow_changed(self, state)
        shutdown.tell(self, state)

    def settle(self, raised: bool = False) -> None:
        self.scope.endings.leave_streams()
        if self.flow.options.on_exit == "cancel":
            self.scope.endings.cancel_all(expected=True)
        elif raised:
            self.scope.endings.stop_pulling()
        self.scope.endings.wait_all()
        self.scope.endings.leave_streams(all=True)
        self.scope.endings.wait_cancelled(self.session.settings.shutdown_grace)
        if self.cancelled and not raised:
            raise self._cancelled()

    def abort(self, by: str) -> None:
        self.scope.endings.leave_streams()
        self.scope.endings.cancel_all(by=by)
        grace = self.session.settings.shutdown_grace
        self.scope.endings.wait_all(grace)
        self.scope.endings.leave_streams(all=True)
        self.scope.endings.wait_cancelled(grace)

    def wind_up(self, error: BaseException) -> None:
        shutdown.wind_up(self, error)

    def hurry(self) -> None:
        shutdown.hurry(self)

    def interrupted(self, error: BaseException) -> State:
        return shutdown.state_of(self, error)

    def cancel(self, by: str = "request") -> bool:
        """Cancel the run from elsewhere: no item begins any more, and its function is told at its next step.

        Returns whether it ends as cancelled, whatever its function does; False: its end was decided before.
        """
        with self._fate:
            if self._decided:
                return False
            self.cancelled = True
        self.scope.given_up = self.scope.given_up or by
        self._told.set()
        if self._wake is not None:
            self._wake()
        if self.slots is not None:
            self.slots.abandon()
        self.scope.endings.cancel_all(by=by)
        return True

    def _given_up(self, last: bool) -> CancelledRun | None:
        """Return the error of a cancelled run; after a call with `last` it cannot be cancelled any more."""
        with self._fate:
            self._decided = self._decided or last
            return self._cancelled() if self.cancelled else None

    def _cancelled(self) -> CancelledRun:
        return CancelledRun(f"flow run {self.name!r} was cancelled")

    def resolve(self, value: Any) -> tuple[Any, Any]:
        return resolve_returned(value)

    def item(self, value: Any) -> Any:
        return resolve_item(value)

    def runs(self) -> Runs:
        unhandled, total, first = self.scope.endings.unhandled()
        error = exception_of(*first) if first is not None else None
        return Runs(total, unhandled, error)

    def reference(self) -> list[State] | None:
        names = self.scope.reference_tasks or self.flow._reference
        if names is None:
            return None
        found = []
        for map in self.scope.endings.maps:
            if map.spec.name in names and map.codes:
                bad = (i for i, code in enumerate(map.codes) if not states.is_success(code))
                found.append(_with_error(map, next(bad, 0)))  # one state: whether all completed, and the error of one
        return found

    def warn(self, message: str) -> None:
        logs.flow_warning(self, message)

    def begin_again(self) -> None:
        resumed.begin_again(self.session, self.scope)


def _with_error(map: Any, index: int) -> State:
    state: State = map.state(index)
    if not state.is_completed():
        state.data = exception_of(map, index)
    return state


def _copy(row: FlowRunRow) -> FlowRunRow:
    return FlowRunRow(*(getattr(row, name) for name in FlowRunRow.__slots__))
