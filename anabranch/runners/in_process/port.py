"""What runners inside the driver's process share: the port of one chunk, and the queue of chunks."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import told
from anabranch.core.errors import RunnerError
from anabranch.core.events import ChunkLost, Logs, WorkerRequest
from anabranch.runners.transport.value_files import Values

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import Event
    from anabranch.core.log_lines import LogLine
    from anabranch.core.reports import Report
    from anabranch.runners.in_process.spill import LocalSpill
    from anabranch.runners.transport.value_files import Block as File


log = logging.getLogger("anabranch.runners")


def nobody(events: Sequence[Event]) -> None:
    """The sink before start and after the end."""


class WrittenOff(BaseException):
    """Raised in a thread that was written off, to make it leave its chunk."""


class _All:
    """The set of all positions."""

    def __contains__(self, position: object) -> bool:
        return True


ALL = _All()


class LocalPort:
    """One chunk from submit to its end, and the `WorkerPort` that its `run_chunk` talks to.

    `gate` is held while an event of this chunk is delivered. A thread that holds it and sets `off` or
    `ended` can be sure that no later event of the chunk gets out. Nothing here refers to the
    chunk once it runs: `take` gives it away.
    """

    __slots__ = (
        "answer", "at", "blocked", "cancels", "chunk", "ended", "files", "gate", "id", "ident", "keep", "off",
        "priority", "resources", "sink", "spill", "store", "watch", "worker",
    )  # fmt: skip

    in_process = True

    def __init__(
        self, chunk: Chunk, sink: Callable[[Sequence[Event]], None], store: dict[int, Any], spill: LocalSpill
    ) -> None:
        self.id = chunk.id
        self.chunk: Chunk | None = chunk
        self.priority = chunk.priority
        self.resources = chunk.resources
        self.sink = sink
        self.store = store
        self.spill = spill
        self.files: dict[BlockHandle, File] = {}  # spilled blocks that the chunk reads
        self.gate = threading.Lock()
        self.worker = ""
        self.ident = 0  # the thread that runs it
        self.off = False  # written off: nothing of it is heard any more
        self.ended = False
        self.blocked = 0
        self.keep: int | None = None
        self.cancels: Collection[int] | _All = ()
        self.at: tuple[float, int, int, float] | None = None  # deadline, stage, position, seconds
        self.watch: Callable[[LocalPort, float], None] | None = None
        self.answer: Callable[[bool, Any], None] | None = None

    # -- the runner's side -----------------------------------------------------------------------

    def take(self) -> Chunk:
        """Give the chunk away, to be run now."""
        chunk, self.chunk = self.chunk, None
        assert chunk is not None
        return chunk

    def run(self, run_chunk: Callable[[Chunk, LocalPort], None], worker: str) -> bool:
        """Run the chunk in this thread; afterwards it has ended, whatever happened. True: by Ctrl-C."""
        self.worker = worker
        self.ident = threading.get_ident()
        interrupted = False
        message = "the worker's run_chunk returned without a final report"
        try:
            run_chunk(self.take(), self)
        except WrittenOff:
            pass
        except KeyboardInterrupt:
            interrupted, message = True, "interrupted"
        except BaseException as error:  # a task's own exceptions end in its report: this is the machinery's
            message = told(error)
            # As text: a record that holds the exception would keep the task's values alive.
            log.error("chunk %d: the worker's run_chunk failed\n%s", self.id, traceback.format_exc())
        self.at = None
        for file in self.files.values():
            file.close()
        if not self.ended:
            self.end(ChunkLost(self.id, "stopped" if interrupted else "worker-lost", message))
        self.sink = nobody
        return interrupted

    def emit(self, event: Event) -> None:
        with self.gate:
            if not self.off:
                self._deliver(event)

    def end(self, event: Event) -> None:
        """Deliver the event that ends the chunk, unless it has ended."""
        with self.gate:
            if not (self.off or self.ended):
                self.ended = True
                self._deliver(event)

    def abandon(self, message: str) -> None:
        """End the chunk from outside, and hear nothing of it any more."""
        mine = self.ident == threading.get_ident()  # from inside its task or its report: the gate may be ours
        taken = not mine and self.gate.acquire(timeout=5)
        ended, self.off, self.ended = self.ended, True, True
        if taken:
            self.gate.release()
        if not ended:
            self._deliver(ChunkLost(self.id, "stopped", message))
        self.refuse(message)

    def _deliver(self, event: Event) -> None:
        try:
            self.sink((event,))
        except Exception:
            log.error("chunk %d: the driver did not take an event\n%s", self.id, traceback.format_exc())

    def shorten(self, keep: int) -> bool:
        """Start nothing from `keep` on; whether nothing at all is to start."""
        if self.keep is None or keep < self.keep:
            self.keep = max(keep, 0)
        return keep <= 0

    def cancel(self, positions: Sequence[int] | None) -> bool:
        """Start none of these positions (None: all); whether nothing at all is to start."""
        chunk = self.chunk
        if positions is None or (chunk is not None and len(set(positions)) >= len(chunk)):
            self.cancels = ALL
            return True
        if self.cancels is not ALL:
            self.cancels = frozenset(positions).union(self.cancels)  # type: ignore[arg-type]
        return False

    def refuse(self, message: str) -> None:
        """Answer a request that still waits for the driver."""
        answer = self.answer
        if answer is not None:
            answer(False, RunnerError(message))

    # -- WorkerPort ------------------------------------------------------------------------------

    def shared(self, shared_id: int) -> Any:
        try:
            return self.store[shared_id]
        except KeyError:
            raise RunnerError(f"nothing was put under the shared id {shared_id}, or it was dropped") from None

    def values(self, handle: BlockHandle) -> Sequence[Any]:
        """Spilled ones; others come with the arguments."""
        found = self.files.get(handle)
        if found is None:
            found = self.files[handle] = self.spill.open(handle)
        return Values(found)

    def report(self, report: Report) -> None:
        if report.final:
            self.end(report)
        elif not self.ended:
            self.emit(report)

    def limit(self, chunk: int) -> int | None:
        return 0 if self.off else self.keep

    def cancelled(self, chunk: int, position: int) -> bool:
        return self.off or position in self.cancels

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        if self.off:
            raise WrittenOff
        if timeout is None or position < 0:
            self.at = None
        elif self.watch is not None:
            deadline = monotonic() + timeout
            self.at = (deadline, stage, position, timeout)
            self.watch(self, deadline)

    def log(self, lines: list[LogLine], dropped: int) -> None:
        self.emit(Logs(lines, dropped))

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

        def reply(ok: bool, value: Any) -> None:
            answers.put((ok, value))

        self.answer = reply
        try:
            self.emit(WorkerRequest(chunk, position, kind, payload, reply))
            if self.off:
                raise WrittenOff
            ok, value = answers.get()
        finally:
            self.answer = None
        if ok:
            return value
        raise value if isinstance(value, BaseException) else RunnerError(str(value))


class PortQueue:
    """Chunks that wait, first in first out within a priority.

    `push` needs the caller's lock. `pop` and `remove` do not: the thread that takes a chunk's entry
    out of `waiting` has the chunk, and taking it out is atomic. A lock here would make tiny chunks queue for
    it with the interpreter's lock in hand. Chunks that need resources wait apart, in `needy`:
    it and the count of resources are for the caller's lock alone.

    Args:
        waiting: the chunks of several queues, where a caller finds them in one place.
        offers: how much there is of each resource; others hold nothing back.
    """

    __slots__ = ("_lanes", "_order", "free", "needy", "waiting")

    def __init__(
        self, waiting: dict[int, LocalPort] | None = None, offers: dict[str, float] | None = None
    ) -> None:
        self.free = dict(offers or {})
        self._lanes: dict[int, deque[LocalPort]] = {0: deque()}
        self._order: list[deque[LocalPort]] = list(self._lanes.values())  # the most urgent first
        self.waiting = {} if waiting is None else waiting
        self.needy: list[LocalPort] = []

    def push(self, port: LocalPort, *, first: bool = False) -> None:
        lane = self._lanes.get(port.priority)
        if lane is None:
            lane = self._lanes[port.priority] = deque()
            self._order = [self._lanes[key] for key in sorted(self._lanes, reverse=True)]
        self.waiting[port.id] = port
        if first:
            lane.appendleft(port)
        else:
            lane.append(port)

    def push_needy(self, port: LocalPort) -> None:
        self.waiting[port.id] = port
        self.needy.append(port)
        self.needy.sort(key=lambda port: -port.priority)

    def count(self, port: LocalPort, step: int) -> None:
        """Take a chunk's resources (-1) or give them back (1)."""
        for name, amount in port.resources.items():
            if name in self.free:
                self.free[name] += step * amount

    def pop_needy(self) -> LocalPort | None:
        """The first chunk whose resources are free."""
        free = self.free
        for port in list(self.needy):
            if port.id not in self.waiting:  # it was taken out of the middle
                self.needy.remove(port)
            elif all(amount <= free.get(name, inf) for name, amount in port.resources.items()):
                self.needy.remove(port)
                if self.waiting.pop(port.id, None) is not None:
                    return port
        return None

    def drain(self) -> list[LocalPort]:
        """Take everything out."""
        ports = [port for port in list(self.waiting.values()) if self.remove(port)]
        self.needy.clear()
        return ports

    def pop(self) -> LocalPort | None:
        for lane in self._order:
            while lane:
                try:
                    port = lane.popleft()
                except IndexError:  # another thread was faster
                    break
                if self.waiting.pop(port.id, None) is not None:
                    return port
        return None

    def remove(self, port: LocalPort) -> bool:
        """Take a chunk out of the middle; False when it is no longer here."""
        return self.waiting.pop(port.id, None) is not None
