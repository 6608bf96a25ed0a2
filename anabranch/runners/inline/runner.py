"""Chunks in the thread that submits them, at submit: for debugging, and for the least of overhead."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.contracts import Capabilities
from anabranch.core.errors import RunnerError
from anabranch.core.events import SlotsChanged
from anabranch.core.own_runners import OwnRunner
from anabranch.core.reports import Report
from anabranch.core.showing import Facts, runner_facts
from anabranch.runners.entry import resolve
from anabranch.runners.in_process.port import LocalPort, PortQueue, nobody
from anabranch.runners.in_process.spill import LocalSpill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.chunks import Chunk
    from anabranch.core.events import Event
    from anabranch.runners.entry import RunChunk


class _Level:
    """One depth of nesting in a thread: what was submitted there, and whether a report is being delivered."""

    __slots__ = ("delivering", "queue")

    def __init__(self, waiting: dict[int, LocalPort]) -> None:
        self.queue = PortQueue(waiting)
        self.delivering = False


class _Levels(threading.local):
    def __init__(self) -> None:
        self.stack: list[_Level] = []


class InlineRunner(OwnRunner):
    """Runs each chunk before the `submit` that brought it returns, one after another.

    - `submit` from the main code or from a running task runs the chunks, and what they lead to,
      before it returns: depth first, so a task finds its own children finished.
    - `submit` from inside the sink only queues: the `submit` further up runs it next. Chains of
      any length need no stack.
    - Several threads that submit each run their own chunks.

    Nothing can be stopped from outside while it runs: time-outs are noticed by the worker's half
    when the item ends.

    Args:
        run_chunk: the worker's half, as a function or as ``module:name``.
    """

    def __init__(self, *, run_chunk: str | RunChunk | None = None) -> None:
        self._entry = run_chunk
        self._run_chunk: RunChunk | None = None
        self._sink: Callable[[Sequence[Event]], None] = nobody
        self._shared: dict[int, Any] = {}
        self._spill = LocalSpill()
        # Only what was spilled is the runner's; other values went to the driver as objects.
        self.release, self.fetch = self._spill.release, self._spill.fetch
        self.spill, self.move = self._spill.spill, self._spill.move
        self._ports: dict[int, LocalPort] = {}
        self._waiting: dict[int, LocalPort] = {}
        self._levels = _Levels()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False

    def __repr__(self) -> str:
        return "InlineRunner()"

    def facts(self) -> Facts:
        return runner_facts("InlineRunner", 1, {}, begun=self._run_chunk, closed=self._closed)

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        if self._run_chunk is not None:
            raise RunnerError("An InlineRunner starts only once. Create a new one.")
        self._run_chunk = resolve(self._entry)
        self._sink = sink
        return Capabilities("inline", in_process=True, values="inline", nested=True, spills=True)

    def slots(self) -> SlotsChanged:
        return SlotsChanged(1, 1)

    def put(self, shared_id: int, value: Any) -> None:
        self._shared[shared_id] = value

    def drop(self, shared_ids: Iterable[int]) -> None:
        for shared_id in shared_ids:
            self._shared.pop(shared_id, None)

    def submit(self, chunks: Sequence[Chunk]) -> None:
        stack = self._levels.stack
        waits = bool(stack) and stack[-1].delivering
        level = stack[-1] if waits else _Level(self._waiting)
        with self._lock:
            if self._closed or self._run_chunk is None:
                raise RunnerError(f"this InlineRunner {'is closed' if self._closed else 'was not started'}")
            for chunk in chunks:
                port = LocalPort(chunk, self._deliver, self._shared, self._spill)
                self._ports[chunk.id] = port
                level.queue.push(port)
        if waits:
            return
        stack.append(level)
        try:
            self._drain(level)
        finally:
            stack.pop()

    def shorten(self, chunk: int, keep: int) -> None:
        port = self._ports.get(chunk)
        if port is not None and port.shorten(keep):
            self._give_back(port)

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        port = self._ports.get(chunk)
        if port is not None and port.cancel(positions):
            self._give_back(port)

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        """The task waits for something that is queued further up in this thread: run that now."""
        if waiting:
            for level in reversed(self._levels.stack):
                self._drain(level)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Give back what is queued and wait for what other threads run; what still runs after that is lost."""
        here = threading.get_ident()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            ports = list(self._ports.values())
        for port in ports:
            if not self._give_back(port):
                port.refuse("the runner was closed")
        if not cancel:
            with self._changed:
                self._changed.wait_for(lambda: all(p.ident == here for p in self._ports.values()), timeout)
        for port in list(self._ports.values()):
            port.abandon("the runner was closed while it ran")
        self._sink = nobody
        self._shared.clear()
        self._spill.close()

    # -- running ---------------------------------------------------------------------------------

    def _drain(self, level: _Level) -> None:
        while (port := level.queue.pop()) is not None:
            self._run(port)

    def _run(self, port: LocalPort) -> None:
        assert self._run_chunk is not None
        interrupted = port.run(self._run_chunk, "inline")
        self._forget(port)
        if interrupted and threading.current_thread() is threading.main_thread():
            # Each once: what the driver sends again meanwhile stays queued, until it is cancelled.
            for other in [port for level in self._levels.stack for port in level.queue.drain()]:
                self._return(other)
            raise KeyboardInterrupt

    def _give_back(self, port: LocalPort) -> bool:
        """End a chunk that has not begun; False when it has."""
        if self._waiting.pop(port.id, None) is None:
            return False
        self._return(port)
        return True

    def _return(self, port: LocalPort) -> None:
        port.chunk = None
        port.end(Report(port.id, 0, 0, True))
        self._forget(port)

    def _forget(self, port: LocalPort) -> None:
        with self._lock:
            self._ports.pop(port.id, None)
            if self._closed:
                self._changed.notify_all()

    def _deliver(self, events: Sequence[Event]) -> None:
        """The sink, with what it submits to be queued."""
        stack = self._levels.stack
        if not stack:  # a thread of the worker's half
            self._sink(events)
            return
        level = stack[-1]
        before, level.delivering = level.delivering, True
        try:
            self._sink(events)
        finally:
            level.delivering = before
