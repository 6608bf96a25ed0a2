"""Chunks on threads of this process: values are objects, nothing is pickled, nothing is copied."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.context import current_task
from anabranch.core.contracts import Capabilities
from anabranch.core.errors import RunnerError
from anabranch.core.events import ChunkLost, ItemTimedOut, SlotsChanged
from anabranch.core.machine import usable_cpus
from anabranch.core.own_runners import OwnRunner
from anabranch.core.reports import Report
from anabranch.core.showing import Facts, runner_facts
from anabranch.core.waiter import aside
from anabranch.runners.entry import resolve
from anabranch.runners.in_process.port import LocalPort, PortQueue, nobody
from anabranch.runners.in_process.spill import LocalSpill
from anabranch.runners.thread.deadlines import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.chunks import Chunk
    from anabranch.core.events import Event
    from anabranch.runners.entry import RunChunk

LINGER = 1.0  # seconds that a thread beyond the pool's size stays when it is idle


class _Thread:
    """A thread of the pool: `port` is what it runs next, `wake` is released to tell it so."""

    __slots__ = ("extra", "name", "new", "port", "resting", "wake")

    def __init__(self, name: str, port: LocalPort, extra: bool) -> None:
        self.name = name
        self.port: LocalPort | None = port
        self.extra = extra
        self.new = True
        self.resting = False  # among the idle: the one that takes it from there releases `wake`, once
        self.wake = threading.Lock()
        self.wake.acquire()


class ThreadRunner(OwnRunner):
    """Runs chunks on daemon threads, started on demand; right for waiting and for code that releases the GIL.

    Args:
        max_workers: how many chunks run at once; None: ``min(32, usable cpus + 4)``.
        resources: what tasks may ask for besides ``cpus``, of which there are as many as threads (or
            processors, if there are more); together they never take more than there is.
        run_chunk: the worker's half, as a function or as ``module:name``.

    A thread whose chunk waits for others (`blocked`) does not count, so nested submits never
    deadlock. An item that runs past its time is reported at its time; its thread cannot be
    stopped, so it is written off (nothing it says is heard) and replaced, up to
    ``max(32, 4 * max_workers)`` threads at a time; beyond that the pool shrinks until one ends.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        resources: dict[str, float] | None = None,
        run_chunk: str | RunChunk | None = None,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        self.max_workers: int = max_workers or min(32, usable_cpus() + 4)
        self._offers = {"cpus": float(max(self.max_workers, usable_cpus())), **(resources or {})}
        self._entry = run_chunk
        self._run_chunk: RunChunk | None = None
        self._sink: Callable[[Sequence[Event]], None] = nobody
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue = PortQueue(offers=self._offers)
        self._ports: dict[int, LocalPort] = {}  # chunks that have not ended
        self._idle: list[_Thread] = []
        self._threads = 0  # that serve the pool: idle ones and running ones
        self._running = 0
        self._blocked = 0  # of the running ones
        self._lost = 0  # threads written off that have not come back
        self._cap = max(32, 4 * self.max_workers)
        self._serial = 0
        self._shared: dict[int, Any] = {}
        self._spill = LocalSpill()
        # Only what was spilled is the runner's; other values went to the driver as objects.
        self.release, self.fetch = self._spill.release, self._spill.fetch
        self.spill, self.move = self._spill.spill, self._spill.move
        self._closed = False
        self._watch: Watch

    def __repr__(self) -> str:
        return f"ThreadRunner(max_workers={self.max_workers})"

    def facts(self) -> Facts:
        return runner_facts("ThreadRunner", self._slots(), self._offers, begun=self._run_chunk, closed=self._closed)

    # -- Runner ----------------------------------------------------------------------------------

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        if self._run_chunk is not None:
            raise RunnerError("A ThreadRunner starts only once. Create a new one.")
        self._run_chunk = resolve(self._entry)
        self._watch = Watch(self)
        self._sink = sink
        offers = tuple(self._offers.items())
        return Capabilities("thread", in_process=True, values="inline", nested=True, spills=True, resources=offers)

    def slots(self) -> SlotsChanged:
        return SlotsChanged(self._slots(), self.max_workers)

    def put(self, shared_id: int, value: Any) -> None:
        self._shared[shared_id] = value

    def drop(self, shared_ids: Iterable[int]) -> None:
        for shared_id in shared_ids:
            self._shared.pop(shared_id, None)

    def submit(self, chunks: Sequence[Chunk]) -> None:
        with self._lock:
            if self._closed or self._run_chunk is None:
                raise RunnerError(f"this ThreadRunner {'is closed' if self._closed else 'was not started'}")
            for chunk in chunks:
                port = LocalPort(chunk, self._sink, self._shared, self._spill)
                port.watch = self._watch.add
                self._ports[chunk.id] = port
                if port.resources:
                    self._queue.push_needy(port)
                else:
                    self._queue.push(port)
            ready = self._assign()
        self._go(ready)

    def shorten(self, chunk: int, keep: int) -> None:
        port = self._ports.get(chunk)
        if port is not None and port.shorten(keep):
            self._answer_now(port)

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        port = self._ports.get(chunk)
        if port is not None and port.cancel(positions):
            self._answer_now(port)

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        with self._lock:
            port = self._ports.get(worker_chunk)
            if port is None or port.off or port.id in self._queue.waiting or not (waiting or port.blocked):
                return
            self._block(port, 1 if waiting else -1)
            if waiting and port.ended:  # by now: its thread may not have seen that it is blocked
                self._block(port, -1)
            ready = self._assign()
        self._go(ready)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Give back what is queued, wait for what runs, end the threads; what still runs after that is lost."""
        here, task = threading.get_ident(), current_task.get()
        mine = -1 if task is None else task.chunk  # an async one runs in another thread than its port's
        with self._lock:
            if self._closed:
                return
            self._closed = True
            queued = self._queue.drain()
            for port in queued:
                port.chunk = None
                del self._ports[port.id]
            idle, self._idle = self._idle, []
            self._threads -= len(idle)
            running = list(self._ports.values())
        for thread in idle:
            thread.wake.release()
        for port in queued:
            port.end(Report(port.id, 0, 0, True))
        for port in running:
            port.refuse("the runner was closed")
        if not cancel:
            with aside(), self._changed:
                left = self._ports.values
                self._changed.wait_for(lambda: all(port.ident == here or port.id == mine for port in left()), timeout)
        if self._run_chunk is not None:
            self._watch.stop()
        for port in list(self._ports.values()):
            self._abandon(port)
        self._sink = nobody
        self._shared.clear()
        self._spill.close()

    # -- threads ---------------------------------------------------------------------------------

    def _slots(self) -> int:
        return self.max_workers if self._lost <= self._cap else max(0, self.max_workers - self._lost + self._cap)

    def _assign(self) -> list[_Thread]:
        """Match chunks that wait with free slots; the threads to be told, once the lock is open."""
        ready: list[_Thread] = []
        while (port := self._pick()) is not None:
            if self._idle:
                thread = self._idle.pop()
                thread.port = port
            else:
                self._serial += 1
                thread = _Thread(f"anabranch-{self._serial}", port, self._threads >= self.max_workers)
                self._threads += 1
            ready.append(thread)
        return ready

    def _pick(self) -> LocalPort | None:
        """The next chunk, if it may run now; it counts as running then."""
        if self._running - self._blocked >= self._slots():
            return None
        port = self._queue.pop_needy() if self._queue.needy else None
        if port is None:
            port = self._queue.pop()
        if port is not None:
            self._running += 1
            self._queue.count(port, -1)
        return port

    def _block(self, port: LocalPort, step: int) -> None:
        """Several items of one chunk may wait at a time: it is one slot all the same."""
        before = port.blocked
        port.blocked += step
        if not (before and port.blocked):
            self._blocked += 1 if step > 0 else -1
            self._queue.count(port, 1 if step > 0 else -1)

    def _stops(self, port: LocalPort) -> None:
        """A chunk no longer runs: its slot and its resources are free."""
        self._running -= 1
        if port.blocked:
            self._blocked -= 1
        else:
            self._queue.count(port, 1)

    def _go(self, ready: list[_Thread]) -> None:
        for thread in ready:
            if not thread.new:
                thread.wake.release()
                continue
            thread.new = False
            try:
                threading.Thread(target=self._work, args=(thread,), name=thread.name, daemon=True).start()
            except RuntimeError as error:  # the system gives us no more threads
                self._undo(thread, str(error))

    def _undo(self, thread: _Thread, reason: str) -> None:
        port = thread.port
        assert port is not None
        with self._lock:
            self._threads -= 1
            self._stops(port)
            alone = self._running == 0 or self._closed
            if alone:
                del self._ports[port.id]
            elif port.resources:
                self._queue.push_needy(port)
            else:
                self._queue.push(port, first=True)  # a running thread takes it when it ends
        if alone:
            port.chunk = None
            port.end(ChunkLost(port.id, "engine-lost", f"no thread could be started: {reason}"))

    def _work(self, me: _Thread) -> None:
        run_chunk = self._run_chunk
        assert run_chunk is not None
        while True:
            port, me.port = me.port, None
            if port is None:  # closed, or one thread too many
                return
            port.run(run_chunk, me.name)
            again = self._next(me, port)
            port = None  # an idle thread keeps nothing alive
            if not again:
                return
            if me.resting and not self._rest(me):
                return

    def _next(self, me: _Thread, port: LocalPort) -> bool:
        """Account for a chunk that ended; give the thread its next one or a place among the idle. False: it ends."""
        # The way of most tiny chunks takes no lock: the thread goes on with what is queued.
        plain = not (port.off or port.blocked or port.resources or self._queue.needy or self._closed)
        if plain and self._running - self._blocked <= self._slots():
            me.port = self._queue.pop()
            if me.port is not None:
                self._ports.pop(port.id, None)
                self._watch.ports.discard(port)
                return True
        notice = None
        with self._lock:
            stays = True
            if self._ports.pop(port.id, None) is None and port.off:
                stays, notice = self._came_back()
                me.extra = False
            else:
                self._stops(port)
            self._watch.ports.discard(port)
            ready = []
            if self._closed:
                self._changed.notify_all()
                self._threads -= stays
                stays = False
            else:
                if stays:
                    me.port = self._pick()
                    if me.port is None:
                        me.resting = True
                        self._idle.append(me)
                # Where more than one place has come free, others are needed too.
                ready = self._assign() if not stays or notice or self._queue.needy else []
        if notice:
            self._sink((notice,))
        if ready:
            self._go(ready)
        return stays

    def _rest(self, me: _Thread) -> bool:
        """Wait for the next chunk; False when an extra thread was not needed for a while."""
        while not me.wake.acquire(timeout=LINGER if me.extra else -1):
            with self._lock:
                if me in self._idle and self._threads > self.max_workers + self._blocked:
                    self._idle.remove(me)
                    self._threads -= 1
                    return False
        me.resting = False
        return True

    # -- threads that are written off --------------------------------------------------------------

    def write_off(self, port: LocalPort, at: tuple[float, int, int, float]) -> bool:
        """End a chunk whose item ran past its time, unless it moved on; False: it is reporting, look again soon."""
        _, stage, position, seconds = at
        with self._lock:
            if not port.gate.acquire(blocking=False):
                return False
            try:
                if port.at is not at or port.off or port.ended:
                    return True
                port.off = True
            finally:
                port.gate.release()
            before = self._slots()
            self._leave(port)
            self._lost += 1
            ready = self._assign()
            now = self._slots()
        events: list[Event] = [
            ItemTimedOut(port.id, stage, position, seconds),
            ChunkLost(port.id, "stopped", f"the thread of position {position} was written off after {seconds:g} s"),
        ]
        if now != before:
            events.append(SlotsChanged(now, self.max_workers))
        self._sink(events)
        self._go(ready)
        port.refuse("the item ran past its time")
        return True

    def _leave(self, port: LocalPort) -> None:
        """A running chunk's thread no longer serves the pool."""
        self._ports.pop(port.id, None)
        self._watch.ports.discard(port)
        self._stops(port)
        self._threads -= 1

    def _came_back(self) -> tuple[bool, SlotsChanged | None]:
        """A thread that was written off has ended its item: it serves again if there is a place."""
        before = self._slots()
        self._lost -= 1
        now = self._slots()
        stays = not self._closed and self._threads < self.max_workers
        self._threads += stays
        return stays, SlotsChanged(now, self.max_workers) if now != before and not self._closed else None

    def _answer_now(self, port: LocalPort) -> None:
        """Nothing of this chunk is to start: if it is queued, let it say so at once."""
        with self._lock:
            if not self._queue.remove(port):
                return
        self._watch.hand(port)

    def settle(self, port: LocalPort) -> None:
        """Run a chunk in the watch's thread that has nothing to start, for its final report."""
        assert self._run_chunk is not None
        port.run(self._run_chunk, "")
        with self._lock:
            self._ports.pop(port.id, None)
            if port.blocked:
                self._block(port, -port.blocked)
            self._changed.notify_all()

    def _abandon(self, port: LocalPort) -> None:
        """Close out a chunk that still runs: it is lost, its thread is written off."""
        port.abandon("the runner was closed while it ran")
        with self._lock:
            if self._ports.pop(port.id, None) is not None:
                self._stops(port)
                self._threads -= 1
                self._lost += 1
