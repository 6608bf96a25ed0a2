"""Chunks whose items may have to be stopped, run in child processes of an engine's worker.

    engine's worker                                                   its children
    ---------------                                                   ------------
    chunk's thread: Children.run(chunk, port) --> ProcessRunner ----> process_worker: run_chunk
        port.report, log, request, stopped   <---- events  <--------- reports, logs, requests

Nothing stops a thread, and an engine's worker is not ours to kill: it holds values of others. So
chunks with a time limit go to processes that are ours. They are those of `ProcessRunner`, with all
that it knows of limits, deaths and blame; here are only the translations at both ends. What a chunk
needs from elsewhere (shared values, blocks it reads) the engine's worker gets as ever and hands on;
large results come back mapped, not copied, and are the engine's from then on.

There are as many children as chunks that run in them. They stay for the next chunk, and end when
there was none for a while, with their engine's worker however that ends, and with `close`.
"""

from __future__ import annotations

import inspect
import threading
from dataclasses import replace
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core.asking import told
from anabranch.core.chunks import BlockHandle, Stage
from anabranch.core.contracts import WorkerPort
from anabranch.core.errors import SerializationError
from anabranch.core.events import ChunkLost, EngineLost, ItemCancelled, ItemTimedOut, Logs, WorkerRequest
from anabranch.core.reports import Block, Held, Inline, Report
from anabranch.core.search import Hole
from anabranch.core.walk import fill
from anabranch.runners.process.runner import ProcessRunner
from anabranch.runners.transport.refusals import fail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.chunks import Chunk
    from anabranch.core.events import Event
    from anabranch.core.task_spec import TaskSpec

IDLE_SECONDS = 60.0  # children without work stay for so long: their driver may have gone


class ChildPort(WorkerPort, Protocol):
    """The engine's port of one chunk, and one verb more."""

    def stopped(self, lost: ChunkLost, item: ItemTimedOut | ItemCancelled | None) -> None:
        """The chunk ended without a final report: `lost` says why, `item` what was stopped; nothing follows."""
        ...


def needs_child(chunk: Chunk, port: WorkerPort) -> bool:
    """Whether an item of this chunk has a time limit that only the end of its process can enforce."""
    if not chunk.timeout:
        return False
    specs = [port.shared(port.shared(ref).spec) for ref in chunk.stages]
    return any(spec.options.timeout_seconds and not _is_async(spec) for spec in specs)


def _is_async(spec: TaskSpec) -> bool:
    if spec.isasync is not None:
        return spec.isasync
    call = getattr(spec.fn, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(spec.fn) or inspect.iscoroutinefunction(call)


class Children:
    """The child processes of one engine's worker, for one driver's session.

    Args:
        entry: the worker's half, as ``module:name``.
        memory_limit: bytes that one child may use; above it is killed, its item out of memory. None: any.
    """

    def __init__(self, entry: str, memory_limit: int | None = None) -> None:
        self._entry = entry
        self._memory_limit = memory_limit
        self._lock = threading.Lock()
        self._runner: ProcessRunner | None = None
        self._put: set[int] = set()  # shared values that the runner has
        self._chunks: dict[int, SimpleQueue[Event]] = {}  # what runs, and where its news go
        self._idle_since = 0.0
        self._reaping = False
        self._over = threading.Event()

    # -- one chunk, in the engine's thread -----------------------------------------------------------

    def run(self, chunk: Chunk, port: ChildPort) -> None:
        """Run a chunk in a child: one final report or one `stopped`, whatever becomes of the child.

        Raises what the port raises, and RunnerError when no child can be started; nothing runs on then.
        """
        news: SimpleQueue[Event] = SimpleQueue()
        runner = self._begin(chunk.id, news)
        try:
            self._share(chunk, port, runner)
            runner.submit([_filled(chunk, port)])
            limit = port.limit(chunk.id)  # what was said before goes after it, what is said from now on comes itself
            if limit is not None:
                runner.shorten(chunk.id, limit)
            cancelled = [p for p in range(len(chunk)) if port.cancelled(chunk.id, p)]
            if cancelled:
                runner.cancel(chunk.id, cancelled, force=True)  # one of them may have begun just now
            _serve(chunk.id, news, runner, port)
        except BaseException:
            runner.cancel(chunk.id, force=True)
            raise
        finally:
            self._end(chunk.id)

    def _begin(self, chunk: int, news: SimpleQueue[Event]) -> ProcessRunner:
        with self._lock:
            self._chunks[chunk] = news
            runner = self._runner
            if runner is None:
                runner = ProcessRunner(len(self._chunks), memory_limit=self._memory_limit, run_chunk=self._entry)
                try:
                    runner.start(self._sink)
                except BaseException:
                    del self._chunks[chunk]
                    raise
                self._runner = runner
            runner.resize(len(self._chunks))
            return runner

    def _end(self, chunk: int) -> None:
        with self._lock:
            del self._chunks[chunk]
            self._idle_since = monotonic()
            if self._chunks or self._runner is None:
                return
            start, self._reaping = not self._reaping, True
        if start:
            threading.Thread(target=self._reap, name="anabranch-children", daemon=True).start()

    def _share(self, chunk: Chunk, port: WorkerPort, runner: ProcessRunner) -> None:
        """Hand on what the chunk's stages name, each thing once."""
        for ref in chunk.stages:
            stage: Stage = port.shared(ref)
            for shared_id in (stage.spec, stage.constants, ref):
                if shared_id is None or shared_id in self._put:
                    continue
                value = replace(stage, plan=None) if shared_id == ref else port.shared(shared_id)
                with self._lock:
                    if shared_id not in self._put and runner is self._runner:
                        runner.put(shared_id, value)
                        self._put.add(shared_id)

    # -- for all threads -----------------------------------------------------------------------------

    def shorten(self, chunk: int, keep: int) -> None:
        """As a runner's; a chunk that does not run here is left alone."""
        runner = self._runner
        if runner is not None and chunk in self._chunks:
            runner.shorten(chunk, keep)

    def cancel(self, chunk: int, positions: Sequence[int] | None, *, force: bool) -> None:
        """As a runner's: with `force` a running item ends, and its child with it."""
        runner = self._runner
        if runner is not None and chunk in self._chunks:
            runner.cancel(chunk, positions, force=force)

    def drop(self, shared_ids: Iterable[int]) -> None:
        """Shared values that no later chunk names."""
        with self._lock:
            known = self._put.intersection(shared_ids)
            self._put -= known
            if known and self._runner is not None:
                self._runner.drop(known)

    def close(self) -> None:
        """End the children, without waiting for what they run."""
        self._over.set()
        with self._lock:
            runner = self._take()
        if runner is not None:
            runner.close(cancel=True)

    def _take(self) -> ProcessRunner | None:
        """The next chunk will find none, and start another one."""
        runner, self._runner = self._runner, None
        self._put = set()
        return runner

    def _reap(self) -> None:
        """Close children that nobody needs any more."""
        while not self._over.wait(max(0.05, self._idle_since + IDLE_SECONDS - monotonic())):
            with self._lock:
                if self._chunks or monotonic() < self._idle_since + IDLE_SECONDS:
                    if self._chunks:
                        self._idle_since = monotonic()
                    continue
                runner = self._take()
                self._reaping = False
            if runner is not None:
                runner.close(cancel=True)
            return

    # -- events, in the thread of the process runner ---------------------------------------------------

    def _sink(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, EngineLost):  # children cannot start: the chunks here end, later ones try anew
                with self._lock:
                    self._take()
                    chunks = list(self._chunks.items())
                for chunk, news in chunks:
                    news.put(ChunkLost(chunk, "worker-lost", event.reason))
                continue
            found = self._chunks.get(getattr(event, "chunk", 0))
            if found is not None:
                found.put(event)


def _filled(chunk: Chunk, port: WorkerPort) -> Chunk:
    """The chunk with the values it reads among its arguments: children have no other way to them.

    What it asks for (processors, a place in the queue) the engine has given already.
    """
    args, wants = list(chunk.args), {}
    for position, wanted in chunk.wants.items():
        saved = [n for n in wanted if n < 0]  # the child can read those itself
        holes = iter(range(len(saved)))
        found = [None if n < 0 else chunk.inputs[n] for n in wanted]
        values = [Hole(next(holes), False) if place is None else port.values(place[0])[place[1]] for place in found]
        args[position] = fill(args[position], values)
        if saved:
            wants[position] = tuple(saved)
    return replace(chunk, args=args, inputs=(), wants=wants, priority=0, resources={})


def _serve(chunk: int, news: SimpleQueue[Event], runner: ProcessRunner, port: ChildPort) -> None:
    """Say to the engine what the child says, until the chunk has ended."""
    item: ItemTimedOut | ItemCancelled | None = None
    while True:
        event = news.get()
        if isinstance(event, Report):
            event.worker = port.worker
            event.blocks = tuple(_here(event, stage, block, runner) for stage, block in enumerate(event.blocks))
            port.report(event)
            if event.final:
                return
        elif isinstance(event, Logs):
            port.log(event.lines, event.dropped)
        elif isinstance(event, WorkerRequest):
            threading.Thread(target=_request, args=(event, port), name="anabranch-request", daemon=True).start()
        elif isinstance(event, (ItemTimedOut, ItemCancelled)):
            item = event
        elif isinstance(event, ChunkLost):
            port.stopped(event, item)
            return


def _request(event: WorkerRequest, port: ChildPort) -> None:
    try:
        found = port.request(event.chunk, event.position, event.kind, event.payload)
    except BaseException as error:
        event.reply(False, error)
    else:
        event.reply(True, found)


def _here(report: Report, stage: int, block: Block, runner: ProcessRunner) -> Block:
    """A block of the process runner as values of this process."""
    if not isinstance(block, Held):
        return block
    handle = BlockHandle(report.chunk, stage, report.first)
    try:
        values = runner.fetch(handle, range(report.count))
    except Exception:
        values = [_one(report, handle, slot, runner) for slot in range(report.count)]
    runner.release((handle,))
    return Inline(values, block.nbytes)


def _one(report: Report, handle: BlockHandle, slot: int, runner: ProcessRunner) -> Any:
    """One value; one that does not unpickle fails, alone."""
    try:
        return runner.fetch(handle, (slot,))[0]
    except Exception as error:
        text = f"its result does not unpickle on the worker: {told(error)}"
        fail(report, handle.stage, slot, SerializationError(text))
        return None
