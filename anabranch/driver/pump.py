"""The pump: the only lock. It takes events in, steps the dispatcher, carries out its instructions.

    any thread --post--> inbox --step (try-lock)--> Dispatcher --instructions--> runners, records,
    finalizers -append-/                                                        waiters, helpers

Whichever thread brings an event steps the dispatcher; if another is at it already, the event is
left in the inbox and that thread takes it along, so a round trip needs no hop. Finalizers and
engine callbacks may run anywhere, even inside a runner's own lock: they only append and nudge
the clock thread, which steps for them.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import weakref
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from anabranch.core import contracts as c
from anabranch.core import events as ev
from anabranch.core import forks
from anabranch.core.asking import shown
from anabranch.core.containers import FIXED
from anabranch.core.errors import AnabranchError, RunnerError
from anabranch.core.frozen import taken
from anabranch.core.pulled import lifted, now
from anabranch.driver.spiller import Spiller
from anabranch.engine.dispatch import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import Clock, Runner
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Row

IDLE_WAKE = 60.0
SETTLE_SECONDS = 1.0  # at most, for what another thread is taking in
BUSY_WAKE = 0.05  # seconds between turns of the clock thread while others step


class Pump:
    """Drives one dispatcher over any number of runners.

    Args:
        clock: where time comes from.
        write_rows: takes record rows; must not block.
        emit_logs: takes log lines that workers sent.
        aside: the work that may run user code in the driver: called on the helper thread.
    """

    def __init__(
        self,
        clock: Clock,
        write_rows: Callable[[list[Row]], None],
        emit_logs: Callable[[list[c.LogLine], int], None],
    ) -> None:
        self.clock = clock
        self.dispatcher = Dispatcher()
        self.runners: list[Runner | None] = []
        self.on_request: Callable[[int, c.WorkerRequest], None] | None = None
        self.on_hooks: Callable[[ev.RunHooks], None] | None = None
        self.on_judge: Callable[[ev.Judge], None] | None = None
        self.on_decide: Callable[[ev.Decide], None] | None = None
        self.on_keep: Callable[[ev.KeepInput], None] | None = None
        self.on_resolve: Callable[[ev.Resolve], None] | None = None
        self.on_want: Callable[[], None] = _nothing  # must not block
        self._write_rows = write_rows
        self._emit_logs = emit_logs
        self._inbox: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._gone: deque[tuple[MapRun, int]] = deque()  # whose futures have died
        self._lock: Any = threading.Lock()
        self._alarm = threading.Lock()
        self._alarm.acquire()
        self._nudged = False
        self._polling = False  # the clock thread looks by itself soon: no need to wake it
        self._drains = self._seen = 0
        self._due: float | None = None
        self._clock_thread: threading.Thread | None = None
        self._aside: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._aside_thread: threading.Thread | None = None
        self._feeders: dict[str, Feeder] = {}
        self._spiller = Spiller(self._spilled, self._warn)
        self._deferred: deque[tuple[Runner, list[c.Chunk]]] = deque()
        self.closed = False
        self.elsewhere = ""  # in a forked copy of the driver: why nothing moves here
        forks.owned(self)

    # -- runners ---------------------------------------------------------------------------------

    def add_runner(self, runner: Runner) -> int:
        """Start a runner and give it a lane; raises what its start raises."""
        lane_box: list[int] = []
        early: list[Sequence[c.Event]] = []

        def sink(found: Sequence[c.Event]) -> None:
            if not lane_box:
                early.append(found)
                return
            for event in found:
                self._inbox.append((self._event, (lane_box[0], event)))
            self.step()

        capabilities = runner.start(sink)
        slots = runner.slots()
        with self._lock:
            lane = self.dispatcher.tables.add_lane(capabilities, slots.now, slots.maximum)
            self.runners.append(runner)
            self._start_clock()  # a finalizer can nudge it, but must not have to start it
        lane_box.append(lane)
        for found in early:
            sink(found)
        return lane

    def drop_runner(self, lane: int, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Close a lane's runner; what it still had to do has crashed."""
        runner = self.runners[lane]
        if runner is None:
            return
        runner.close(cancel=cancel, timeout=timeout)
        self.runners[lane] = None
        self.dispatch(self.dispatcher.losses.engine_lost, lane, "the runner was closed")

    # -- events in -------------------------------------------------------------------------------

    def dispatch(self, move: Callable[..., Any], *args: Any) -> None:
        """Bring an event and step; it is taken here, or soon by the thread at work: `flush` waits for that."""
        self._inbox.append((move, args))
        self.step()

    def flush(self) -> None:
        """Return once all events that this thread has brought have been taken, so that it reads what it asked for.

        At the latest after a second: a signal's handler may have interrupted the very thread that takes them.
        """
        if (self._inbox or self._lock.locked()) and self._lock.acquire(timeout=SETTLE_SECONDS):
            try:
                if self._inbox or self._gone:
                    self._drain()
            finally:
                self._lock.release()
            self.step()

    def enqueue(self, move: Callable[..., Any], *args: Any) -> None:
        """Bring an event that changes nothing before another one comes: whoever steps next takes it along."""
        self._inbox.append((move, args))

    def post(self, move: Callable[..., Any], *args: Any) -> None:
        """Bring an event from a finalizer or an engine's thread: append only, the clock thread steps."""
        self._inbox.append((move, args))
        if not (self._nudged or self._polling):
            self._nudge()

    def drop_handle_soon(self, map: MapRun, index: int) -> None:
        """A future has died: as `post`, for what may come a million times; told behind all that has been brought."""
        self._gone.append((map, index))
        if not (self._nudged or self._polling):
            self._nudge()

    def _nudge(self) -> None:
        self._nudged = True
        with contextlib.suppress(RuntimeError):
            self._alarm.release()

    def inspect(self, look: Callable[..., Any], *args: Any) -> Any:
        """Look at maps while nobody changes them, after all events that this thread has brought."""
        with self._lock:
            if self._inbox or self._gone:
                self._drain()
            found = look(*args)
        self.step()
        return found

    def call_locked(self, move: Callable[..., Any], *args: Any) -> Any:
        """Step with this event, and its answer; for threads that must run no user code, as inline's chunks are."""
        with self._lock:
            self._drain()
            found = move(*args)
            self._drain()
        if self._inbox or self._deferred:
            self.post(_nothing)
        return found

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
        self._drains += 1
        dispatcher, inbox, gone = self.dispatcher, self._inbox, self._gone
        known = len(gone)  # looked at first: what brought their runs is in the inbox, or was
        dispatcher.tables.wall = self.clock.time()
        dispatcher.tick(self.clock.monotonic())
        while inbox:
            move, args = inbox.popleft()
            move(*args)
            if len(dispatcher.tables.out) > 256:
                self._carry_out()
        if known:
            dispatcher.readers.handles_gone(gone.popleft() for _ in range(known))
        self._carry_out()
        due = dispatcher.next_due()
        if due is not None and (self._due is None or due < self._due):
            self._due = due
            self._start_clock()
            if threading.current_thread() is not self._clock_thread:  # that one looks at `_due` after each turn
                with contextlib.suppress(RuntimeError):
                    self._alarm.release()

    def _event(self, lane: int, event: c.Event) -> None:
        d = self.dispatcher
        if isinstance(event, c.Report):
            d.reports.take_in(event)
        elif isinstance(event, c.Logs):
            d.tables.out.append(ev.EmitLogs(event.lines, event.dropped))
        elif isinstance(event, c.ChunkLost):
            d.losses.chunk_lost(event)
        elif isinstance(event, c.ItemTimedOut):
            d.timeouts.item_timed_out(event)
        elif isinstance(event, c.SlotsChanged):
            d.capacity.slots_changed(lane, event.now, event.maximum, event.offers)
        elif isinstance(event, c.ValuesLost):
            d.remakes.values_lost(lane, event.handles)
        elif isinstance(event, c.EngineLost):
            d.losses.engine_lost(lane, event.reason)
        elif isinstance(event, c.WorkerRequest) and self.on_request is not None:
            self.on_request(lane, event)

    # -- instructions out ------------------------------------------------------------------------

    def _carry_out(self) -> None:
        for instruction in self.dispatcher.take():
            self._do[type(instruction)](self, instruction)

    def _put(self, i: ev.Put) -> None:
        runner = self.runners[i.lane]
        if runner is None:
            return
        try:
            runner.put(i.ref, i.value)
        except AnabranchError as error:
            message = str(error)
            self._inbox.append((self.dispatcher.intake.cannot_send, (i.lane, i.ref, message)))

    def _send(self, i: ev.Send) -> None:
        runner = self.runners[i.lane]
        if runner is None:
            self._inbox.extend(
                (self.dispatcher.losses.chunk_lost, (c.ChunkLost(chunk.id, "engine-lost"),)) for chunk in i.chunks
            )
        elif self.dispatcher.tables.lanes[i.lane].capabilities.name == "inline":
            # User code runs inside this submit: not while the lock is held.
            self._deferred.append((runner, i.chunks))
        else:
            try:
                runner.submit(i.chunks)
            except RunnerError as error:  # closed by its owner while work was left
                self._inbox.append((self.dispatcher.losses.engine_lost, (i.lane, str(error))))

    def _drop(self, i: ev.Drop) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.drop(i.refs)

    def _shorten(self, i: ev.Shorten) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.shorten(i.chunk, i.keep)

    def _cancel(self, i: ev.CancelChunk) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.cancel(i.chunk, i.positions, force=i.force)

    def _free(self, i: ev.Free) -> None:
        runner = self.runners[i.lane]
        if runner is not None:
            runner.release(i.handles)

    def _spill(self, i: ev.Spill | ev.Move) -> None:
        self._spiller.put(self.runners[i.block.lane], i)

    def _spilled(self, answer: str, *args: Any) -> None:
        # Only noted: who steps may send chunks, and inline those run in the stepping thread.
        self.post(getattr(self.dispatcher, answer), *args)

    def _pull(self, i: ev.Pull) -> None:
        feeder = self._feeders.get(i.map.id)
        if feeder is None:
            feeder = self._feeders[i.map.id] = Feeder(self, i.map)
            feeder.start()
        feeder.wants.put(i.count)

    def _rows(self, i: ev.Rows) -> None:
        self._write_rows(i.rows)

    def _logs(self, i: ev.EmitLogs) -> None:
        # Writing to a terminal may block: never under the lock.
        self.aside(functools.partial(self._emit_logs, i.lines, i.dropped))

    def _wake(self, i: ev.Wake) -> None:
        for call in i.calls:
            call()

    def _resolve(self, i: ev.Resolve) -> None:
        if self.on_resolve is not None:
            resolve = self.on_resolve
            self.aside(lambda: resolve(i))

    def _decide(self, i: ev.Decide) -> None:
        if self.on_decide is not None:
            decide = self.on_decide
            self.aside(lambda: decide(i))

    def _judge(self, i: ev.Judge) -> None:
        # Several events may come before their instructions are carried out, a cancel of this run among them.
        if self.on_judge is not None and not i.map.is_terminal(i.index):
            judge = self.on_judge
            self.aside(lambda: judge(i))

    def _want(self, i: ev.WantSlots) -> None:
        self.on_want()

    def _hooks(self, i: ev.RunHooks) -> None:
        if self.on_hooks is not None:
            hooks = self.on_hooks
            self.aside(lambda: hooks(i))

    def _keep(self, i: ev.KeepInput) -> None:
        if self.on_keep is not None:
            self.aside(functools.partial(self.on_keep, i))

    _do: dict[type, Callable[[Pump, Any], None]] = {  # noqa: RUF012
        ev.Put: _put, ev.Send: _send, ev.Drop: _drop, ev.Shorten: _shorten, ev.CancelChunk: _cancel, ev.Free: _free,
        ev.Spill: _spill, ev.Move: _spill, ev.Pull: _pull, ev.Rows: _rows, ev.EmitLogs: _logs, ev.Wake: _wake,
        ev.WantSlots: _want, ev.Resolve: _resolve, ev.Decide: _decide, ev.Judge: _judge, ev.RunHooks: _hooks,
        ev.KeepInput: _keep,
    }  # fmt: skip

    # -- helper threads --------------------------------------------------------------------------

    def aside(self, work: Callable[[], None]) -> None:
        """Run user code of the driver's side (hooks, callbacks, conditions) one after another, elsewhere."""
        if self._aside_thread is None:
            self._aside_thread = threading.Thread(target=self._aside_main, name="anabranch-aside", daemon=True)
            self._aside_thread.start()
        self._aside.put(work)

    def _aside_main(self) -> None:
        while True:
            work = self._aside.get()
            if work is None:
                return
            failure: BaseException | None = None
            try:
                work()
            except BaseException as error:  # a user's callback must not end the thread for all others
                failure = error
            if self.elsewhere:
                forks.leave(failure)
            if failure is not None:
                self._warn(f"callback failed: {shown(failure)}", 40)
            del work, failure

    def _warn(self, text: str, level: int = 30) -> None:
        self._emit_logs([c.LogLine(time.time(), level, "anabranch", text, "", "", -1)], 0)

    def drain_aside(self, timeout: float | None = None) -> None:
        """Wait until everything given to `aside` before has run."""
        if self._aside_thread is None or threading.current_thread() is self._aside_thread:
            return
        done = threading.Event()
        self._aside.put(done.set)
        done.wait(timeout)

    def _start_clock(self) -> None:
        if self._clock_thread is None:
            self._clock_thread = threading.Thread(
                target=_clock_main, args=(weakref.ref(self), self._alarm), name="anabranch-clock", daemon=True
            )
            self._clock_thread.start()

    def wake_clock(self) -> float:
        """One turn of the clock thread: step, and say how long to sleep.

        While others step as well it looks again soon by itself: a finalizer that had to wake it would
        hand the interpreter over at every future that goes.
        """
        self._nudged = self._polling = False
        self._due = None
        before, self._seen = self._seen, self._drains
        self._inbox.append((_nothing, ()))
        self.step()
        due = self._due
        longest = IDLE_WAKE
        if self._seen > before + 1:
            self._polling = True
            longest = BUSY_WAKE
        return longest if due is None else min(longest, max(0.0, due - self.clock.monotonic()))

    def let_go(self) -> None:
        """This is a forked copy: nothing is taken in, sent or waited for any more; finalizers still find a place."""
        self._lock = forks.NotHere()
        self.elsewhere, self.closed = self._lock.why, True
        self._deferred.clear()

    def close(self) -> None:
        """End the helper threads; runners are closed by who made them."""
        stepping = not self._lock.acquire(timeout=5.0)  # who steps now has written its rows before the record is closed
        self.closed = True
        if not stepping:
            self._lock.release()
        if self._aside_thread is not None:
            self._aside.put(None)
        self._spiller.close()
        for feeder in self._feeders.values():
            feeder.wants.put(0)
        with contextlib.suppress(RuntimeError):
            self._alarm.release()


def _nothing() -> None:
    """An event that only makes time pass."""


def _clock_main(ref: weakref.ref[Pump], alarm: threading.Lock) -> None:
    sleep = 0.0
    while True:
        alarm.acquire(timeout=sleep if sleep > 0 else 0.0001)
        pump = ref()
        if pump is None or pump.closed:
            return
        sleep = pump.wake_clock()
        del pump


class Feeder(threading.Thread):
    """Takes elements off one map's iterator, so that a slow one holds nobody up."""

    def __init__(self, pump: Pump, map: MapRun) -> None:
        super().__init__(name=f"anabranch-feed-{map.spec.name}", daemon=True)
        self.pump = pump
        self.map = map
        self.wants: SimpleQueue[int] = SimpleQueue()
        self.apart, self.loose = not pump.dispatcher.tables.lanes[map.lane].capabilities.in_process, False

    def run(self) -> None:
        source: Any = self.map.source
        while True:
            count = self.wants.get()
            if count == 0 or self.map.closed:
                break
            items, error = self._take(source, count)
            ended = source.exhausted or error is not None
            if self.map.earlier is not None:
                self.map.earlier.verify(len(self.map.codes), items)
            items, waited, refused = lifted(self.map, items)
            if waited and self.apart:
                items = list(map(taken, items))
            error = refused or error
            ended = ended or error is not None
            self.pump.dispatch(self.pump.dispatcher.intake.pulled, self.map, items, ended, error, waited)
            if ended:
                break
        try:
            source.close()
        except Exception as error:  # of the user's generator, at its end
            self.pump._warn(f"the iterator of map {self.map.spec.name!r} failed as it was closed: {shown(error)}")
        # Not before: who is told to let go of this iterator now must not meet the generator as it closes.
        self.pump._feeders.pop(self.map.id, None)

    def _take(self, source: Any, count: int) -> tuple[list[Any], BaseException | None]:
        """Up to `count` elements, fewer when the iterator is slow: what came by then is sent on."""
        items: list[Any] = []
        step, deadline = 1, time.monotonic() + 0.02
        try:
            while len(items) < count and not source.exhausted and time.monotonic() < deadline:
                found = source.take(min(step, count - len(items)))
                step *= 2
                if self.apart and not (self.loose or FIXED.issuperset([type(item) for item in found])):
                    found, self.loose = list(map(now, found)), True
                    source.take_now(now)
                items += found
        except BaseException as error:
            return items, error
        return items, None

