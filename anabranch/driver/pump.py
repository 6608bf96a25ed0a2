"""The pump: the only lock. It takes events in, steps the dispatcher, carries out its instructions.

    any thread --dispatch--> inbox --step (try-lock)--> Dispatcher --instructions--> Outgoing: runners, record,
    finalizers ---post------/                                                       waiters, threads

Whichever thread brings an event steps the dispatcher; if another is at it already, the event is
left in the inbox and that thread takes it along, so a round trip needs no hop. Finalizers and
engine callbacks may run anywhere, even inside a runner's own lock: they only append and nudge
the clock thread, which steps for them.

    dispatch      append, and step unless another thread does     enqueue   append; the next step takes it
    call_locked   step with it, and return its answer             post      append, and the clock thread steps
    inspect       read, after all events brought before           flush     wait until all those are taken
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any

from anabranch.core import forks
from anabranch.core import instructions as ins
from anabranch.core.clusters import OnElastic
from anabranch.core.events import (
    ChunkLost,
    ChunkStarted,
    EngineLost,
    Event,
    ItemTimedOut,
    Logs,
    SlotsChanged,
    ValuesLost,
    WorkerRequest,
)
from anabranch.core.reports import Report
from anabranch.driver.clock_thread import ClockThread
from anabranch.driver.outgoing import Outgoing
from anabranch.engine.demand import demand_of
from anabranch.engine.dispatch import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    from anabranch.core.contracts import Clock, Runner
    from anabranch.core.maps import MapRun
    from anabranch.driver.callbacks import Callbacks
    from anabranch.driver.outgoing import EmitLogs, WriteRows

FLUSH_SECONDS = 1.0  # longest wait for events that another thread is taking in
MANY = 256  # so many instructions are carried out before further events are taken

_pumps: weakref.WeakSet[Pump] = weakref.WeakSet()


class Pump:
    """Drives one dispatcher over any number of runners.

    Args:
        clock: where time comes from.
        callbacks: user code of the driver's side, and other parts of the program.
        write_rows: takes record rows; must not block.
        emit_logs: takes log lines that workers sent.

    Attributes:
        owner: the thread that holds the lock, or held it last.
        drains: how often events were taken in.
        elsewhere: in a forked copy of the driver, the reason why no event is taken here.
    """

    def __init__(self, clock: Clock, callbacks: Callbacks, write_rows: WriteRows, emit_logs: EmitLogs) -> None:
        self.clock = clock
        self.callbacks = callbacks
        self.dispatcher = Dispatcher()
        self.owner = 0
        self.drains = 0
        self.closed = False
        self.elsewhere = ""
        self._inbox: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._gone: deque[tuple[MapRun, int]] = deque()  # items with dead futures
        self._lock: Any = threading.Lock()
        self._clock_thread = ClockThread(self, clock)
        self.outgoing = Outgoing(
            self.dispatcher, callbacks, write_rows, emit_logs,
            enqueue=self.enqueue, dispatch=self.dispatch, post=self.post,
        )  # fmt: skip
        self.runners = self.outgoing.runners
        self.callback_thread = self.outgoing.callback_thread
        self._deferred = self.outgoing.deferred
        forks.owned(self)
        _pumps.add(self)

    # -- runners ---------------------------------------------------------------------------------

    def add_runner(self, runner: Runner) -> int:
        """Start a runner and give it a lane; raises the exception of its start."""
        lane_box: list[int] = []
        early: list[Sequence[Event]] = []

        def sink(found: Sequence[Event]) -> None:
            if not lane_box:
                early.append(found)
                return
            for event in found:
                take = _EVENTS.get(type(event))
                if take is not None and (take is not _began or self.dispatcher.tables.walltime is not None):
                    self._inbox.append((take, (self, lane_box[0], event)))
            self.step()

        capabilities = runner.start(sink)
        slots = runner.slots()
        with self._lock:
            self.owner = get_ident()
            lane = self.dispatcher.tables.add_lane(capabilities, slots.now, slots.maximum)
            self.runners.append(runner)
            self._clock_thread.start()  # a finalizer can nudge it, but must not have to start it
        lane_box.append(lane)
        if isinstance(runner, OnElastic):
            runner.ask_for_demand(lambda: self.inspect(demand_of, self.dispatcher.tables, lane))
        for found in early:
            sink(found)
        return lane

    def drop_runner(self, lane: int, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Close a lane's runner; its unfinished items crash."""
        runner = self.runners[lane]
        if runner is None:
            return
        runner.close(cancel=cancel, timeout=timeout)
        self.runners[lane] = None
        self.dispatch(self.dispatcher.losses.engine_lost, lane, "the runner was closed")

    # -- events in -------------------------------------------------------------------------------

    def dispatch(self, move: Callable[..., Any], *args: Any) -> None:
        """Bring an event and step; this thread takes it, or soon the one that steps now: `flush` waits for that."""
        self._inbox.append((move, args))
        self.step()

    def enqueue(self, move: Callable[..., Any], *args: Any) -> None:
        """Bring an event without a step: the next step takes it along."""
        self._inbox.append((move, args))

    def post(self, move: Callable[..., Any], *args: Any) -> None:
        """Bring an event from a finalizer or an engine's thread: append only, the clock thread steps."""
        self._inbox.append((move, args))
        if not self._clock_thread.awake:
            self._clock_thread.nudge()

    def drop_handle_soon(self, map: MapRun, index: int) -> None:
        """Note a dead future, cheaply, because a million may die at once; taken after all events brought before."""
        self._gone.append((map, index))
        if not self._clock_thread.awake:
            self._clock_thread.nudge()

    def pass_time(self) -> None:
        """Step without an event, because delayed items may be due."""
        self.dispatch(_nothing)

    def inspect(self, look: Callable[..., Any], *args: Any) -> Any:
        """Read maps under the lock, after all events that this thread has brought."""
        with self._lock:
            self.owner = get_ident()
            if self._inbox or self._gone:
                self._drain()
            found = look(*args)
        self.step()
        return found

    def call_locked(self, move: Callable[..., Any], *args: Any) -> Any:
        """Step with this event and return its answer; for threads that must not run user code, as inline chunks are."""
        with self._lock:
            self._drain()
            found = move(*args)
            self._drain()
        if self._inbox or self._deferred:
            self.post(_nothing)
        return found

    def flush(self) -> None:
        """Wait until all events that this thread has brought are taken, so that it reads their effects.

        Waits a second at most: a signal's handler may have interrupted the very thread that takes them.
        """
        if (self._inbox or self._lock.locked()) and self._lock.acquire(timeout=FLUSH_SECONDS):
            try:
                if self._inbox or self._gone:
                    self._drain()
            finally:
                self._lock.release()
            self.step()

    def step(self) -> None:
        """Take in all waiting events, unless another thread is at it."""
        while (self._inbox or self._gone) and not self.closed:
            if not self._lock.acquire(blocking=False):
                return
            try:
                self._drain()
            finally:
                self._lock.release()
        while self._deferred:
            runner, chunks = self._deferred.popleft()
            runner.submit(chunks)

    def _drain(self) -> None:
        self.owner = get_ident()
        self.drains += 1
        dispatcher, inbox, gone = self.dispatcher, self._inbox, self._gone
        known = len(gone)  # read first: the events that brought their runs are in the inbox, or were
        dispatcher.tables.wall = self.clock.time()
        dispatcher.tick(self.clock.monotonic())
        while inbox:
            move, args = inbox.popleft()
            move(*args)
            if len(dispatcher.tables.out) > MANY:
                self.outgoing.carry_out()
        if known:
            dispatcher.readers.handles_gone(gone.popleft() for _ in range(known))
        self.outgoing.carry_out()
        due = dispatcher.next_due()
        if due is not None and (self._clock_thread.due is None or due < self._clock_thread.due):
            self._clock_thread.wake_at(due)

    # -- the end ---------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Reset in a forked copy: no events are taken, nothing is sent or awaited; finalizers can still append."""
        self._lock = forks.NotHere()
        self.elsewhere, self.closed = self._lock.why, True
        self._deferred.clear()

    def close(self) -> None:
        """End the pump's threads; runners are closed where they were made."""
        free = self._lock.acquire(timeout=5.0)  # a thread that steps now has written its rows before the record closes
        self.closed = True
        if free:
            self._lock.release()
        self.outgoing.close()
        self._clock_thread.wake()


def taking_in(frame: Any) -> bool:
    """Return whether this thread, interrupted at `frame`, holds a pump's lock, or is about to take or free it."""
    if frame is not None and frame.f_code in _LOCKING:
        return True
    here = get_ident()
    return any(pump.owner == here and pump._lock.locked() for pump in tuple(_pumps))


# A thread that has the lock and is not yet its `owner` is in one of these functions. A step also takes deferred
# chunks out of their queue before it submits them.
_LOCKING: frozenset[CodeType] = frozenset(
    move.__code__
    for move in (Pump.inspect, Pump.call_locked, Pump.flush, Pump.step, Pump.add_runner, Pump._drain)
)


def _nothing() -> None:
    """Do nothing: an event that only makes time pass."""


def _logs(pump: Pump, lane: int, event: Logs) -> None:
    pump.dispatcher.tables.out.append(ins.EmitLogs(event.lines, event.dropped))


def _began(pump: Pump, lane: int, event: ChunkStarted) -> None:
    if pump.dispatcher.tables.walltime is not None:  # else the event is not even brought: one comes for each chunk
        pump.dispatcher.tables.walltime.began(event.chunk)


def _slots(pump: Pump, lane: int, event: SlotsChanged) -> None:
    pump.dispatcher.capacity.slots_changed(lane, event.now, event.maximum, event.offers)


def _request(pump: Pump, lane: int, event: WorkerRequest) -> None:
    pump.callbacks.request(lane, event)


# The dispatcher's method for each event of a runner. Other events change nothing.
_EVENTS: dict[type, Callable[[Pump, int, Any], None]] = {
    Report: lambda pump, lane, event: pump.dispatcher.reports.take_in(event),
    Logs: _logs,
    ChunkStarted: _began,
    ChunkLost: lambda pump, lane, event: pump.dispatcher.losses.chunk_lost(event),
    ItemTimedOut: lambda pump, lane, event: pump.dispatcher.timeouts.item_timed_out(event),
    SlotsChanged: _slots,
    ValuesLost: lambda pump, lane, event: pump.dispatcher.remakes.values_lost(lane, event.handles),
    EngineLost: lambda pump, lane, event: pump.dispatcher.losses.engine_lost(lane, event.reason),
    WorkerRequest: _request,
}
