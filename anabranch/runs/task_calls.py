"""Plain calls: `t(x)` runs its attempts in its caller's thread.

A call of a generator task gives items as its function makes them; the run begins with the first item.
"""

from __future__ import annotations

import contextlib
import functools
import random
import time
from typing import TYPE_CHECKING, Any

from anabranch import logs, prints
from anabranch import session as sessions
from anabranch.core import context, drawing, forks, secrets, states, strays, tracebacks
from anabranch.core.context import TaskContext, TaskRun
from anabranch.core.draws import Source
from anabranch.core.errors import OptionError
from anabranch.core.failures import described, kept, leaving, without_frames
from anabranch.core.futures import Future
from anabranch.core.runs import StoredRow
from anabranch.core.states import State
from anabranch.core.transactions import block_here
from anabranch.core.walk import needs_walk
from anabranch.driver import run_logs
from anabranch.engine import drive, hooks
from anabranch.engine.attempt import AttemptResult, AttemptWorld, attempt, crashed, failed, finish
from anabranch.engine.steps import Call, Sleep
from anabranch.limits.tickets import SlotGuard
from anabranch.runs.given_values import GivenValues

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextvars import Token

    from anabranch.core.reports import ErrorInfo
    from anabranch.core.runnable import Runnable
    from anabranch.engine.steps import Step

_RNG = random.Random()


def call(
    task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], *, return_state: bool, wait_for: Any
) -> Any:
    """Run a task now, here; a coroutine for an async task, a generator (async or not) for a generator task."""
    args, kwargs = task.binder.bind(args, kwargs)
    if task.isgenerator and return_state:
        raise OptionError(
            f"{task.name!r} is a generator task, so a call gives its items, not a state: "
            "use .submit(..., return_state=True), whose value is the list of them"
        )
    if wait_for is not None or needs_walk(args, kwargs):
        secrets.remember(*args, *kwargs.values())
        given = GivenValues(task.name, args, kwargs, wait_for)
        if given.found or given.waited:
            block = block_here.get()
            refused = None if block is None else functools.partial(block.refused, task)
            awaited = task.isasync and not task.isgenerator
            go = functools.partial(_go, task, return_state)
            return given.taken(task.spec, return_state, go, awaited=awaited, on_refusal=refused)
        args, kwargs = given.lifted
    return _go(task, return_state, args, kwargs)


def _go(task: Runnable, return_state: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if context.current_flow.get() is None and (origin := strays.here()) is not None:
        with strays.adopted(origin):
            return _go(task, return_state, args, kwargs)
    if task.isgenerator:
        return PlainCall(task).generate(args, kwargs)
    if task.isasync:
        return PlainCall(task).run_async(args, kwargs, return_state)
    return PlainCall(task).run(args, kwargs, return_state)


def _as_before(result: AttemptResult) -> Generator[Step, Any, AttemptResult]:
    """Return the policy of a run that an earlier driver has done."""
    yield from ()
    return result


class PlainCall:
    """One plain call: its place in the record, its attempts, its answer."""

    read_by_task = False  # a call inside a submitted task is part of that task, and no stream of the flow

    def __init__(self, task: Runnable) -> None:
        self.task = task
        inner = context.current_task.get()
        # A call inside a task that runs on a worker is part of that task: no record of its own.
        recorded = inner is None or inner.port is None
        self.outer = None if inner is None else inner.run
        self.session = sessions.current() if recorded else None
        self.scope = self.session.scopes.here() if self.session is not None else None
        self.map = self.scope.series(task, "call") if self.scope is not None else None
        self.resume = None if self.scope is None else self.scope.resume
        self.ended = False
        self.index = 0  # set at its begin: a coroutine or generator may never begin
        self.begun = self.zero = 0.0  # when it began, by the wall clock, and by the one that nobody sets
        flow = context.flow_here()
        tags = self.map.header.tags if self.map is not None else task.options.tags
        flow_id, flow_name = ("", "") if flow is None else (flow.id, flow.name)
        if flow is None and inner is not None:  # a task on a worker knows only the names of its flow run
            flow_id, flow_name = inner.run.flow_run_id, inner.run.flow_run_name
        self.run_info = TaskRun(
            task.name, self.map.id if self.map is not None else "inner", 0, 1, flow_id, flow_name, tags, "call",
            version=task.options.version or "", draws=None if self.map is None else self.map.header.draws,
        )  # fmt: skip
        if self.map is None and inner is not None and task.options.seed is not None:
            place = drawing.of_task(inner).called(task.name)
            self.run_info.draws = Source(task.options.seed, place)
        self.world: AttemptWorld | None = None  # set once an attempt has begun
        self.misnamed: OptionError | None = None  # why `task_run_name` gave it no name
        self.prints = task.options.log_prints
        if self.prints is None and inner is None:  # inside a task the call follows the task
            self.prints = flow.log_prints if flow is not None else False

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        found = self._begin(args, kwargs)
        policy = self._policy(found, args, kwargs)
        try:
            result = drive.run(policy)
        except forks.Copied as copy:
            return copy.outcome()
        except BaseException as error:  # an interrupt between two steps of the policy
            result = drive.run(self._crashed(error))
        finally:
            policy.close()
        try:
            if self.resume is not None and found is None:
                self._keep(result)
            return self._answer(result, return_state)
        finally:
            del result  # an error that leaves has this frame, and must not be held by it

    async def run_async(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        found = self._begin(args, kwargs)
        policy = self._policy(found, args, kwargs)
        try:
            result = await drive.run_async(policy)
        except forks.Copied as copy:
            forks.leave(copy.error)  # as in an async flow
        except BaseException as error:
            result = await drive.run_async(self._crashed(error))
        finally:
            policy.close()
        try:
            if self.resume is not None and found is None:
                self._keep(result)
            return self._answer(result, return_state)
        except BaseException as error:
            tracebacks.hide(error)  # nobody but the caller awaits this
            raise
        finally:
            del result

    def generate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a generator of the items; the run ends with them, and closing the generator early completes it."""
        drives = drive.stream_async if self.task.isasync else drive.stream
        return drives(self._items(args, kwargs), self._inside)

    def _items(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Step, Any, Any]:
        """Run the attempts; another one follows only an attempt that has given no item."""
        self._begin(args, kwargs, streams=True)
        if self.scope is not None:
            self.scope.endings.streams.append(self)
        policy = self._attempts(args, kwargs, streams=True)
        if (block := block_here.get()) is not None:
            policy = block.streamed(self.task, self.run_info, policy)
        result = yield from policy
        try:
            return self._answer(result, False)
        finally:
            del result

    def _policy(
        self, found: AttemptResult | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Generator[Step, Any, AttemptResult]:
        """Return the policy of the run, or of what an earlier driver has found; in a transaction as a part of it."""
        policy = self._attempts(args, kwargs) if found is None else _as_before(found)
        block = block_here.get()
        return policy if block is None else block.part(self.task, self.run_info, policy)

    def _attempts(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, streams: bool = False
    ) -> Generator[Step, Any, AttemptResult]:
        """Run attempts until one of them ends the run; with `streams`, `_inside` goes around the steps."""
        while True:
            entered = None if streams else self._enter()
            try:
                slots = self._slots()
                if slots is not None:
                    yield Call(slots.__aenter__ if self.task.isasync else slots.__enter__)
                try:
                    result = yield from self._attempt(args, kwargs, streams=streams)
                finally:
                    if slots is not None:
                        slots.__exit__(None, None, None)
            except GeneratorExit:  # the interpreter ends, or this is a forked copy: there is no one to report to
                raise
            except BaseException as error:  # Ctrl-C, sys.exit: the run is over, and recorded so
                result = yield from self._crashed(error)
            finally:
                if entered is not None:
                    self._leave(entered)
            if result.code not in (states.AWAITING_RETRY, states.AWAITING_CACHE):
                return result
            self._again(result)
            yield Sleep(result.delay)

    def left_open(self) -> None:
        """End the run with the flow around it while the generator is still held, as if it were closed here."""
        self._end(AttemptResult(states.COMPLETED, message="not all of its items were read"))

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        left = self._enter()
        try:
            yield
        finally:
            self._leave(left)

    def _begin(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, streams: bool = False
    ) -> AttemptResult | None:
        """Begin the run; returns the result that an earlier driver of it has recorded for this call, if any."""
        if self.map is not None:
            self.run_info.index = self.index = next(self.map.inputs.append_index)
        if self.task.options.task_run_name is not None:
            self._name(self.task.options.task_run_name, args, kwargs)
        if self.map is not None and self.scope is not None:
            pump = self.scope.pump
            pump.enqueue(pump.dispatcher.calls.began, self.map, self.index)
        self.begun, self.zero = time.time(), time.perf_counter()
        return None if self.resume is None or streams else self._recorded(args, kwargs)

    def _name(self, given: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        parameters = self.task.binder.as_dict(args, kwargs)
        try:
            self.run_info.given_name = context.given_name(given, parameters, f"@task {self.task.name!r}: task_run_name")
        except OptionError as error:
            self.misnamed = error
        if self.map is not None and self.run_info.given_name:
            self.map.header.names[self.index] = self.run_info.given_name

    def _recorded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AttemptResult | None:
        if self.resume is None or self.session is None or self.map is None:
            return None
        if not self.resume.single(self.map, self.index, (args, kwargs), ()):
            return None
        place = self.map.resume.previous.places.find(self.index) if self.map.resume.previous is not None else None
        there, value = (False, None) if place is None else self.session.calls.read(place)
        if not there or place is None:
            return None
        key = self.resume.key_of(self.map, self.index)
        self.session.write([StoredRow(self.map.id, place[0], (self.index,), (place[1],), key)])
        return AttemptResult(states.COMPLETED, value)

    def _keep(self, result: AttemptResult) -> None:
        """Keep the value for a later driver of the run."""
        if self.resume is None or self.session is None or self.map is None:
            return
        if states.is_success(result.code) and self.task.options.persist_result is not False:
            key = self.resume.key_of(self.map, self.index)
            self.session.calls.keep(self.map.id, self.index, key, result.value)

    def _enter(self) -> tuple[TaskContext, Token[TaskContext | None], prints.Started]:
        """Make this run the current one; returns the argument for `_leave`."""
        outer = context.current_task.get()
        here = TaskContext(self.run_info, spec=self.task.spec)
        if outer is not None:  # part of that task, as are its submits and waits
            here.log, here.port, here.chunk, here.position = outer.log, outer.port, outer.chunk, outer.position
            here.scope = outer.scope
            if self.run_info.draws is None:
                here.draws = outer
        printing = None if self.prints is None else prints.start_prints(self.prints)
        return here, context.current_task.set(here), printing

    def _leave(self, entered: tuple[TaskContext, Token[TaskContext | None], prints.Started]) -> None:
        here, token, printing = entered
        here.over = True
        if printing is not None:
            prints.end_prints(printing)
        context.current_task.reset(token)

    def _slots(self) -> SlotGuard | None:
        """Return the slots of the record's limits for this run; a call inside a task shares the task's slots."""
        if self.session is None:
            return None
        limits, info, outer = self.session.limits, self.run_info, self.outer
        needs = limits.of_task(info.task_name, info.tags)
        if needs and outer is not None:
            needs = {name: 1 for name in needs if name not in limits.of_task(outer.task_name, outer.tags)}
        return SlotGuard([lambda ready: limits.ticket(needs, on_ready=ready)]) if needs else None

    def _attempt(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, streams: bool = False
    ) -> Generator[Step, Any, AttemptResult]:
        task = self.task
        if self.session is not None and (task.options.cached or task.options.persist_result):
            task.spec.store = self.session.store
        self.run_info.bound = lambda: task.binder.as_dict(args, kwargs)
        # An attempt after the first one begins later than the run.
        self.run_info.start_time = self.begun if self.run_info.attempt == 1 else time.time()
        self.world = AttemptWorld(
            task.spec, self.run_info, self.run_info.bound,
            self.scope.parameters if self.scope is not None else None, logs.run_warning, _RNG, True,
            streams=streams, tell_failed=logs.attempt_failed,
        )  # fmt: skip
        if self.misnamed is not None:  # as on a worker, the run fails before its function is called
            return finish(self.world, failed(self.misnamed))
        return attempt(self.world, args, kwargs)

    def _crashed(self, error: BaseException) -> Generator[Step, Any, AttemptResult]:
        """End a run in which an exception tried to end the program, or this coroutine was cancelled.

        Its hooks are called: those for a crash after sys.exit, those for a cancel after a cancel.
        """
        if drive.cancelled(error):
            result = AttemptResult(states.CANCELLED, error=error, message="Cancelled.", reason="cancelled/user")
            if self.world is not None:
                run, hooked, state = self.run_info, self.task.options.on_cancellation, self._state(result)
                run.state, run.end_time = state, state.timestamp
                yield from hooks.called(hooked, self.task, run, state, logs.run_warning)
            return result
        result = crashed(error)
        if self.world is None or not isinstance(error, SystemExit):
            return result
        return (yield from finish(self.world, result))

    def _again(self, result: AttemptResult) -> None:
        if result.code == states.AWAITING_RETRY:
            self.run_info.attempt += 1
            if self.map is not None and self.scope is not None:
                told = (secrets.mask(result.message), _info(result.error), result.reason)
                pump = self.scope.pump
                pump.dispatch(pump.dispatcher.calls.again, self.map, self.index, *told)

    def _answer(self, result: AttemptResult, return_state: bool) -> Any:
        self._end(result)
        error = result.error
        if states.is_success(result.code):
            return self._state(result) if return_state else result.value
        state = self._state(result)
        if return_state and (error is None or isinstance(error, Exception)):
            if self.map is not None:
                state.data = Future(self.map, self.index)  # reading the exception from it marks the failure as handled
            elif error is not None:
                kept(error)
            return state
        if error is None:
            error = state.exception()
        if self.map is not None:
            self.map.mark_handled(self.index)
        try:
            raise leaving(error)
        finally:
            del error, result, state

    def _state(self, result: AttemptResult) -> State:
        name, kind = states.NAMES[result.code]
        data = result.value if states.is_success(result.code) else result.error
        return State(
            kind, result.name or name, result.message, data, attempt=self.run_info.attempt, run_id=self.run_info.id
        )

    def _end(self, result: AttemptResult) -> None:
        if self.map is None or self.session is None or self.ended:
            return
        self.ended = True
        if self.scope is not None and self in self.scope.endings.streams:
            self.scope.endings.streams.remove(self)
        if result.name:
            self.map.state_names[self.index] = result.name
        times = (self.begun, self.begun + time.perf_counter() - self.zero)
        pump = self.session.pump
        message = secrets.mask(result.message)
        end = (result.code, message, _info(result.error), times, result.reason, result.cache_key)
        pump.dispatch(pump.dispatcher.calls.ended, self.map, self.index, *end)
        run_logs.log_call(self.map, self.run_info)


def _info(error: BaseException | None) -> ErrorInfo | None:
    if error is None:
        return None
    info = described(error)
    info.exception = without_frames(error)
    return info
