"""The execution of one flow run: its function called in its context, between its begin and its end in the record."""

from __future__ import annotations

import contextlib
import random
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch import logs, prints
from anabranch.core import context, forks, observing, states, strays, tracebacks
from anabranch.core.errors import CancelledRun
from anabranch.core.exceptions import twin
from anabranch.core.failures import kept, leaving
from anabranch.core.states import Completed, State
from anabranch.engine import drive
from anabranch.engine.flow_run import FlowAttempt, FlowResult, flow_run
from anabranch.engine.steps import Call
from anabranch.runs import flow_queue, off_main, resumed, shutdown, signals

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from anabranch.core.context import FlowContext, TaskContext
    from anabranch.driver.runner_pool import InUse
    from anabranch.driver.scope import Scope
    from anabranch.engine.steps import Step
    from anabranch.runs.flow_run import FlowRun
    from anabranch.runs.flow_world import World


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a flow's call among the runs around it.

    Attributes:
        task: the task run that it stands in, if any.
        parent: the flow run around it, and `around`, its scope; None for an outermost run.
        outermost: no flow run around it may be resumed.
        caller: the task run that calls it and waits, in the same thread.
        counts: it counts as a task run of the flow around it.
    """

    task: TaskContext | None
    parent: FlowContext | None
    around: Scope | None
    outermost: bool
    caller: TaskContext | None
    counts: bool


class FlowExecution:
    """One flow run on its way from its begin to its end.

    Args:
        used: the runner of its tasks, which is given back at the end.
        as_before: it completed before, with these inputs and this code.
    """

    def __init__(self, run: FlowRun, world: World, place: Place, used: InUse, *, as_before: bool) -> None:
        self.run = run
        self.as_before = as_before
        self._world = world
        self._place = place
        self._used = used

    def go(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        try:
            with self._entered(), flow_queue.queued(self.run, self._world) as slots, slots:
                ended, policy = flow_queue.given_up(self.run, self._world), self._policy(args, kwargs)
                result: FlowResult = ended or drive.run(policy, sleep=self.run.cancellation.sleep)
                self._keep(result)
        except forks.Copied as copy:
            value = copy.outcome()
            return Completed(data=value) if return_state else value
        try:
            return self._answer(result, return_state)
        finally:
            del result, ended  # a raised error refers to this frame, which must not refer back

    async def go_async(self, args: tuple[Any, ...], kwargs: dict[str, Any], return_state: bool) -> Any:
        try:
            with self._entered(), flow_queue.queued(self.run, self._world) as slots:
                async with slots:
                    ended, policy = flow_queue.given_up(self.run, self._world), self._policy(args, kwargs)
                    pause = self.run.cancellation.pause
                    result = await drive.run_async(policy, sleep=pause) if ended is None else ended
                    self._keep(result)
        except forks.Copied as copy:  # closing the loop, which both processes share, would disable the other one
            forks.leave(copy.error)
        try:
            return self._answer(result, return_state)
        except BaseException as error:
            tracebacks.hide(error)  # nobody but the caller awaits this
            raise
        finally:
            del result, ended

    def _keep(self, result: FlowResult) -> None:
        run = self.run
        if result.state.is_completed() and run.parent is not None and run.flow.options.persist_result is not False:
            resumed.keep_value(run.session, run.scope, result.value)

    def _policy(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, streams: bool = False
    ) -> Generator[Step, Any, FlowResult]:
        run = self.run
        attempt = FlowAttempt(
            run.flow, run, run.flow.plain_fn, run.flow.options, self._world, random.Random(), attempt=run.attempt,
            before=run.attempt, streams=streams, given_up=run.cancellation.given_up, decide=run.flow.rules.decide,
            cancels_fail=run.flow.rules.cancels_fail,
        )  # fmt: skip
        return flow_run(attempt, args, kwargs)

    # -- a generator's items, one by one ---------------------------------------------------------

    def stream(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Step, Any, Any]:
        """Return the policy of a run that gives its items to its caller; `inside` goes around its steps."""
        run, world = self.run, self._world
        with self._registered(), signals.listening(run), flow_queue.queued(run, world) as slots:
            yield Call(slots.__aenter__ if run.flow.isasync else slots.__enter__, blocking=not run.flow.isasync)
            try:
                self._told_of_streams(True)
                result: FlowResult = flow_queue.given_up(run, world) or (
                    yield from self._policy(args, kwargs, streams=True)
                )
            finally:
                self._told_of_streams(False)
                slots.__exit__(None, None, None)
        return self._answer(result, False)

    @property
    def read_by_task(self) -> bool:
        """Whether a task called this generator flow and has not ended."""
        caller = self._place.caller
        return caller is not None and not caller.over

    def _told_of_streams(self, begun: bool) -> None:
        """Register the open generator with the flow around, or the session: its reader may never come back."""
        around = self._place.around
        streams = self.run.session.streams if around is None else around.endings.streams
        if begun:
            streams.append(self)
        elif self in streams:
            streams.remove(self)

    def left_open(self, *, last: bool = False) -> None:
        """End the run with the flow around, or the program (`last`), while the generator is still held."""
        if last:
            self._world.abort("flow-end")
        state: State = Completed("not all of its items were read")
        try:
            self._world.settle()
        except CancelledRun as error:
            state = self._world.interrupted(error)
        if self.run.cancellation.given_up(True) is None or state.is_cancelled():
            self._world.changed(state, self.run.attempt)
        self._end()

    # -- its context, its begin and its end ------------------------------------------------------

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Enter the flow's context around its function; the record begins and ends with it."""
        with self._registered(), self.inside():
            yield

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let code in this block belong to this run."""
        flow_token = context.current_flow.set(self.run.here)
        task_token = context.current_task.set(None)
        tags_token = context.current_tags.set(self.run.tags)
        log_prints = self.run.scope.log_prints
        seen = observing.inside(self.run.id) if observing.observers else contextlib.nullcontext()
        try:
            with signals.heard(self.run), off_main.told_of_the_end(self.run), seen, prints.prints(log_prints):
                yield
        finally:
            context.current_tags.reset(tags_token)
            context.current_task.reset(task_token)
            context.current_flow.reset(flow_token)

    @contextmanager
    def _registered(self) -> Iterator[None]:
        """Register the run with the session and the record for this block."""
        run, around = self.run, self._place.around
        run.scope.flow = run.here
        strays.follow()
        try:
            run.session.scopes.known[run.id] = run.scope
            run.session.keeper.begin(run.row, run.cancel)
            if around is not None:
                around.endings.children.append(run)
                around.endings.called_flows += self._place.counts
                if around.given_up:  # a cancel of the flow around either finds this run in `children`, or is found here
                    run.cancel(around.given_up)
            logs.flow_began(run)
            observing.run_began(run.seen)
            yield
        finally:
            self._end()

    def _end(self) -> None:
        """Clean up after the run has ended, or was left open."""
        run, session, around = self.run, self.run.session, self._place.around
        if run.over.is_set() or session.pump.elsewhere:
            return
        if around is not None and run in around.endings.children:
            around.endings.children.remove(run)
        run.scope.close()
        observing.run_ended(run.seen, run.state)
        resumed.close(session, run.scope)
        session.scopes.known.pop(run.id, None)
        session.keeper.end(run.id)
        session.runners.leave(self._used)
        session.flush_records()
        # Values of a subflow serve its own retries, which are over; those of an outermost run serve its next
        # driver, and `replay` and `retry --failed` where it completed although runs in it failed.
        failed = run.scope.endings.any_failed()
        completed = states.is_success(run.row.state) and not run.row.run_key
        unneeded = run.parent is not None or (completed and not failed)
        if around is not None and failed:
            around.endings.failed_below = True
        if self._place.outermost and unneeded:
            resumed.forget_values(session, run.scope)
        if "IPython" in sys.modules:  # a notebook may show the flow; a script is not to pay for it
            run.flow._remember(run.facts())
        run.scope.let_go()
        run.over.set()

    def _answer(self, result: FlowResult, return_state: bool) -> Any:
        run, around = self.run, self._place.around
        error = shutdown.leaving(run, result.error)
        fatal = isinstance(error, BaseException) and not isinstance(error, Exception)
        if fatal or (error is not None and not return_state):
            assert error is not None
            if run.state.data is error:  # hooks may hold this run, which must not hold a raised error
                run.state = run.state.with_data(kept(twin(error)))
            try:
                raise leaving(error)
            finally:
                del error, result
        if not return_state:
            return result.value
        state = result.state
        if isinstance(state.data, BaseException):
            kept(state.data)
        if self._place.counts and around is not None and not state.is_completed():
            state = state.with_data(state.exception())
            around.leave_ended(state, run.flow._runnable.spec)
        return state
