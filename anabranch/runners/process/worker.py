"""The worker process of `ProcessRunner`: the main thread runs chunks, another listens to the driver meanwhile.

Started with ``python -c`` by `worker_handle.WorkerProcess`, so nothing of the user's program is run again.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
import threading
import traceback
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import BlockHandle, Chunk
from anabranch.core.errors import RunnerError
from anabranch.core.left_to_driver import leave_signals_to_the_driver
from anabranch.core.reports import Held, Packed
from anabranch.core.script import be_a_worker
from anabranch.core.surroundings import Surroundings, Worker
from anabranch.runners.entry import resolve
from anabranch.runners.placing.port_state import PortState, bound
from anabranch.runners.placing.status_page import StatusPage
from anabranch.runners.process import wire
from anabranch.runners.transport.packing import pack_blocks, refuse, small
from anabranch.runners.transport.refusals import raised
from anabranch.runners.transport.requests import Requests, encoded
from anabranch.runners.transport.value_files import Store, Values, block_name, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.log_lines import LogLine
    from anabranch.core.reports import Report
    from anabranch.runners.entry import RunChunk
    from anabranch.runners.transport.value_files import Block as File

_PR_SET_PDEATHSIG = 1
AROUNDS_KEPT = 256  # surroundings of the driver: chunks that are on their way may have been sent in older ones


class ProcessPort:
    """A worker's way to its driver, as `run_chunk` sees it."""

    in_process = False
    tracks = True  # wants to hear of every item: a death is blamed on the one that ran

    def __init__(self, worker: str, chunks: int, control: wire.Stream, page: StatusPage, store: Store) -> None:
        self.worker = worker
        self._chunks = chunks
        self._control = control
        self._page = page
        self._store = store
        self._raw: dict[int, tuple[bytes, str | None]] = {}  # shared values that nobody looked at yet
        self._shared: dict[int, Any] = {}
        self._open: dict[BlockHandle, File] = {}  # blocks that the running chunk reads
        self._state = PortState()
        self.cancelled = self._state.cancelled
        self._around, self._arounds = Worker(), {0: Surroundings()}  # of the driver
        self._requests = Requests()
        self._heard = 0  # control frames
        self._news = threading.Condition()
        self._inline_limit = 1024
        self._unended = False
        self.reading_ns = 0  # how long the running chunk took to unpickle

    # -- WorkerPort ------------------------------------------------------------------------------

    def shared(self, shared_id: int) -> Any:
        if shared_id not in self._shared:
            data, name = self._raw[shared_id]
            if name is None:
                self._shared[shared_id] = pickle.loads(data)
            else:
                with self._store.open(name) as file:
                    self._shared[shared_id] = file.load(0, shared=True)
            del self._raw[shared_id]
        return self._shared[shared_id]

    def values(self, handle: BlockHandle) -> Sequence[Any]:
        found = self._open.get(handle)
        if found is None:
            found = self._open[handle] = self._store.open(block_name(handle))
        return Values(found)

    def report(self, report: Report) -> None:
        pack_blocks(report, lambda stage, values: self._packed(report, stage, values))
        self._control.send(wire.report_frame(report))
        if report.final:
            self._unended = False

    def limit(self, chunk: int) -> int | None:
        """Asked before an item begins: all that was said until now counts, also where this process stood still."""
        with self._news:
            while self._control.unread():
                self._news.wait()
            return self._state.limit(chunk)

    @property
    def capped(self) -> bool:
        """Whether the system limits this process's memory (ulimit): a MemoryError says so then."""
        limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
        return any(limit != resource.RLIM_INFINITY for limit in limits)

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        self._page.note(chunk, stage, position, attempt, timeout or 0.0)

    def log(self, lines: list[LogLine], dropped: int) -> None:
        self._control.send(wire.message(wire.LOGS, lines, dropped))

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        data = encoded(kind, payload)
        send, message = self._control.send, wire.message
        return self._requests.ask(lambda number: send(message(wire.REQUEST, number, chunk, position, kind, data)))

    # -- values ----------------------------------------------------------------------------------

    def _packed(self, report: Report, stage: int, values: list[Any]) -> Packed | Held:
        block = small(values, self._inline_limit)
        if block is not None:
            return block
        name = block_name(BlockHandle(report.chunk, stage, report.first))
        parts = [pickled(value) for value in values]
        try:
            return Held(self._store.write(name, parts))
        except OSError as error:
            folders = " or ".join(self._store.folders)
            return refuse(report, stage, RunnerError(f"no room for its result in {folders}: {error}"))

    # -- chunks ----------------------------------------------------------------------------------

    def work(self, run_chunk: RunChunk) -> None:
        """Do what the driver sends, until it says that this was all; without the driver, end at once."""
        room = bytearray(2 * wire.MESSAGE_BYTES)
        while (size := os.readv(self._chunks, [room])) > 0:
            message = bytes(memoryview(room)[:size])
            if message == wire.BYE:
                return
            self._chunk(message, run_chunk)
            _flush()
        os._exit(1)

    def _chunk(self, message: bytes, run_chunk: RunChunk) -> None:
        chunk_id, heard, around, fields, name = wire.chunk_of(message)
        self._page.note(chunk_id, 0, -1, 0, 0.0)
        if self._heard < heard:
            with self._news:
                self._news.wait_for(lambda: self._heard >= heard)
        self._around.enter(self._arounds.get(around))
        begun = perf_counter_ns()
        try:
            if name is None:
                chunk = Chunk(*pickle.loads(fields))
            else:
                with self._store.open(name) as file:
                    chunk = Chunk(*file.load(0))
            del fields, message
        except Exception as error:
            self._lost(chunk_id, "unserializable", f"its arguments do not unpickle on the worker: {raised(error)}")
            return
        self.reading_ns = perf_counter_ns() - begun
        self._inline_limit = chunk.inline_limit
        self._unended = True
        try:
            run_chunk(chunk, self)
            if self._unended:
                self._lost(chunk_id, "worker-lost", "the worker's half came back without a final report")
        except Exception as error:
            if isinstance(error, MemoryError):
                self._lost(chunk_id, "out-of-memory", f"peak {_peak() >> 20} MB, and then {raised(error)}")
            else:
                self._lost(chunk_id, "unserializable", f"the chunk could not be run: {raised(error)}")
        finally:
            for file in self._open.values():
                file.close()
            self._open.clear()
            self._state.forget(chunk_id)

    def _lost(self, chunk: int, reason: str, text: str) -> None:
        self._control.send(wire.message(wire.LOST, chunk, reason, text))

    # -- listening -------------------------------------------------------------------------------

    def listen(self) -> None:
        """Hear what the driver says while chunks run, until it has gone."""
        while True:
            self._control.wait()
            with self._news:  # what has been read is heard before anybody looks
                frames = self._control.take()
                if frames is None:
                    return
                self._hear_all(frames)
                self._news.notify_all()
                del frames

    def _hear_all(self, frames: Sequence[tuple[int, bytes]]) -> None:
        for kind, body in frames:
            self._hear(kind, pickle.loads(body))
        self._heard += len(frames)

    def _hear(self, kind: int, fields: Any) -> None:
        if kind == wire.SHARED:
            shared_id, data, name = fields
            self._raw[shared_id] = (data, name)
        elif kind == wire.DROP:
            for shared_id in fields:
                self._shared.pop(shared_id, None)
                self._raw.pop(shared_id, None)
        elif kind == wire.PATH:
            sys.path[:] = fields
        elif kind == wire.AROUND:
            self._arounds[fields[0]] = Surroundings(*fields[:3])  # its path is told apart
            bound(self._arounds, AROUNDS_KEPT)
        elif kind == wire.REPLY:
            number, good, data = fields
            self._requests.reply(number, good, data)
        elif kind == wire.LIMIT:
            self._state.shorten(*fields)
        elif kind == wire.CANCEL:
            self._state.cancel(*fields)


def _peak() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _flush() -> None:
    """What tasks print is seen before the worker may be killed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, or replaced by something of the user's
            pass


def _end_with(parent: int) -> None:
    """Ask the system to end this process with its driver, also while user code holds the interpreter."""
    try:
        prctl: Callable[..., int] = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux: the listening thread has to do
        return
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _live_with_the_driver(port: ProcessPort) -> None:
    """Listen until the driver has gone, and go too; also where it cannot be understood, for then nothing is heard."""
    try:
        port.listen()
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def main() -> None:
    """Run a worker, as the command line says: name, entry point, driver's pid, three descriptors, folders."""
    name, entry, parent, chunks_fd, control_fd, page_fd = sys.argv[1:7]
    folders = sys.argv[7].split("\n")
    del sys.argv[1:]
    _end_with(int(parent))
    leave_signals_to_the_driver()
    chunks, control = int(chunks_fd), wire.Stream(int(control_fd))
    os.set_inheritable(chunks, False)
    page = StatusPage(int(page_fd))
    os.close(int(page_fd))
    port = ProcessPort(name, chunks, control, page, Store(folders))
    threading.Thread(target=_live_with_the_driver, args=(port,), name="anabranch-listen", daemon=True).start()
    be_a_worker(pickle.loads)
    run_chunk = resolve(entry)
    control.send(wire.message(wire.HELLO, wire.versions()))
    port.work(run_chunk)
