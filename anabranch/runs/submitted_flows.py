"""Submitted flows: each runs in a thread of its own in the driver, and its caller gets a future."""

from __future__ import annotations

import contextvars
import functools
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core import forks
from anabranch.core.asking import told
from anabranch.core.errors import CancelledRun
from anabranch.core.failures import capture
from anabranch.core.futures import Future
from anabranch.core.states import Cancelled, Crashed, Failed, State, TriggerFailed, ValueSource
from anabranch.engine import loops

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.errors import UpstreamError
    from anabranch.core.maps import MapRun
    from anabranch.core.reports import ErrorInfo
    from anabranch.core.runnable import Runnable
    from anabranch.driver.scope import Scope
    from anabranch.runs.given_values import GivenValues


class Cancellable(Protocol):
    """What is asked of a flow run here."""

    def cancel(self, by: str) -> bool: ...


class Submitted:
    """A submitted flow, also before its run exists; its future cancels it through this.

    Attributes:
        over: set once none of its code runs any more, and its end is recorded.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.over = threading.Event()
        self.cancelled = False  # cancelled before its run existed
        self.as_before = False  # it completed in an earlier attempt of the flow around it
        self.cause: tuple[MapRun, int] | None = None  # the upstream because of which it did not begin
        self._run: Cancellable | None = None
        self._lock = threading.Lock()

    @property
    def exists(self) -> bool:
        """Whether its run exists, and so a record."""
        return self._run is not None

    def check(self) -> None:
        """Raise CancelledRun if it was cancelled before its run existed: it never begins."""
        if self.cancelled:
            raise CancelledRun(f"flow {self.name!r} was cancelled before it started")

    def turned_away(self, error: UpstreamError, cause: tuple[MapRun, int] | None) -> State:
        """Return the end of a flow that does not begin because an upstream did not complete."""
        self.cause = cause
        return TriggerFailed(str(error), error)

    def began(self, run: Cancellable) -> None:
        with self._lock:
            self._run = run
        if self.cancelled:
            run.cancel("request")

    def cancel(self, by: str) -> bool:
        """Cancel it; False when its end is decided already."""
        with self._lock:
            run = self._run
            if run is None:
                self.cancelled = True
                return True
        return run.cancel(by)


def submit(scope: Scope, flow: Runnable, given: GivenValues, start: Callable[[Submitted], State]) -> Future:
    """Begin a flow run beside the caller.

    Args:
        scope: the flow run (or program) that submits, which waits for it at its end.
        flow: the flow, for its name in the record.
        given: its arguments.
        start: runs the flow in the new thread and returns its final state; may raise before a run exists.
    """
    map = scope.series(flow, "flow")
    index = next(map.inputs.append_index)
    pump, dispatcher = scope.pump, scope.pump.dispatcher
    here = Submitted(flow.name)
    if scope.resume is not None:
        waited = [scope.upstream_anywhere(f, allow)._replace(value=False) for f, allow in given.waited]
        read = [scope.upstream_anywhere(f, allow) for f, allow in given.found]
        scope.resume.single(map, index, given.lifted, (*read, *waited))
    scope.endings.submitted[map.id, index] = here
    pump.dispatch(dispatcher.calls.began, map, index)
    pump.dispatch(dispatcher.readers.handle_taken, map, index)
    around = contextvars.copy_context()
    if scope.given_up:  # a cancel of the flow around either finds this run in `submitted`, or is found here
        scope.cancel(map, (index,))

    work = functools.partial(_run, scope, map, index, here, lambda: around.run(start, here))
    threading.Thread(target=work, name=f"anabranch-flow-{flow.name}", daemon=True).start()
    return Future(map, index)


def _run(scope: Scope, map: MapRun, index: int, here: Submitted, start: Callable[[], State]) -> None:
    """Run a submitted flow in this thread, and tell the dispatcher of its end."""
    pump = scope.pump
    began, zero = time.time(), time.perf_counter()
    loops.own_loop()
    try:
        state = start()
    except Exception as error:
        state = Failed(told(error), error)
        if here.cancelled:
            state = Cancelled("cancelled before it started", error)
    except BaseException as error:  # sys.exit in a flow ends that flow, not the program
        state = Crashed(f"Execution was ended by {told(error)}", error)
    if pump.elsewhere:  # a forked copy of this thread, in which the flow's function has returned too
        forks.leave(state.data if isinstance(state.data, BaseException) else None)
    info = None if state.is_completed() else _info(state)
    value = state.data if state.is_completed() else None
    if isinstance(value, ValueSource):
        value = value.value()
    if here.as_before and map.resume.previous is not None:
        map.resume.previous.offer(index, None)
    if here.cause is not None:
        map.inputs.causes[index] = (here.cause,)
    times = (began, began + time.perf_counter() - zero)
    pump.dispatch(pump.dispatcher.calls.flow_ended, map, index, state.code, state.message, info, times, value)
    here.over.set()
    scope.endings.submitted.pop((map.id, index), None)


def _info(state: State) -> ErrorInfo:
    error: Any = state.data
    return capture(error if isinstance(error, BaseException) else state.exception(), in_process=True)
