"""Chunks on worker processes of our own, over pipes: a dead worker costs what it ran, and nothing else.

    driver                                                  worker (one process each)
    ------                                                  ------
    submit --> queue --> _Worker.assigned (2) --pipe-->     listen thread -> chunks -> run_chunk
    sink  <-- reader thread of each worker  <--pipe--       reports, logs, requests
    watch <-- shared page: what runs now since when <--     port.item
    fetch <-- block files in shared memory          <--     large values (the driver removes them)

Workers are started by `python -m`, so the user's script is not imported again and needs no
``if __name__ == "__main__"``. They end when their pipe does, so no driver's death leaves orphans.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cloudpickle

from anabranch.core.contracts import (
    Capabilities,
    ChunkLost,
    ItemCancelled,
    ItemTimedOut,
    Logs,
    Report,
    SlotsChanged,
    WorkerJoined,
    WorkerLost,
    WorkerRequest,
)
from anabranch.core.cpus import usable_cpus
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import RunnerError, VersionMismatch
from anabranch.core.processes import process_started
from anabranch.runners import process_blocks as blocks
from anabranch.runners.entry import WORKER
from anabranch.runners.process_host import exit_text, resident, sweep
from anabranch.runners.process_page import Page, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.contracts import Chunk, Event, Handle

PREFETCH = 2  # chunks a worker has: one running, one at hand
WATCH_SECONDS = 0.02


class _Worker:
    """One process: what it has to do, and the thread that reads its pipe."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], connection: Connection, page: Page) -> None:
        self.name = name
        self.process = process
        self.connection = connection
        self.page = page
        self.assigned: dict[int, Chunk] = {}
        self.reported: dict[int, int] = {}
        self.done_items = 0
        self.retired = False
        self.stopping: tuple[str, Any] | None = None  # why we killed it
        self.send_lock = threading.Lock()

    def send(self, message: tuple[Any, ...]) -> None:
        data = pickle.dumps(message, protocol=5)
        # A worker's listen thread always drains its pipe, so this waits for no user code.
        with self.send_lock, contextlib.suppress(OSError, ValueError):
            self.connection.send_bytes(data)


class ProcessRunner:
    """Runs chunks on processes of this machine; right for pure Python work on all cores.

    Args:
        max_workers: processes; None: the processors this process may use.
        memory_limit: bytes of resident memory from which on a worker is killed; None: no ceiling.
        max_tasks_per_child: items after which a worker is replaced; None: never.
        run_chunk: the worker's half, as ``module:name``.

    Functions travel by cloudpickle (lambdas and notebook functions work); modules that can be
    imported are imported. A killed worker costs the items it had not reported; time limits and
    forced cancels kill the one worker that runs the item.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        memory_limit: int | None = None,
        max_tasks_per_child: int | None = None,
        run_chunk: str = WORKER,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers cannot be {max_workers}: it counts from 1")
        self.max_workers = max_workers or usable_cpus()
        self.memory_limit = memory_limit
        self.max_tasks_per_child = max_tasks_per_child
        self._entry = run_chunk
        self._sink: Callable[[Sequence[Event]], None] | None = None
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[Chunk] = deque()
        self._workers: list[_Worker] = []
        self._where: dict[int, _Worker] = {}
        self._blocked: dict[int, int] = {}
        self._limits: dict[int, int] = {}
        self._dropped: set[int] = set()
        self._held: set[Handle] = set()
        self._serial = 0
        self._closing = False
        self._folder = Path()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ProcessRunner(max_workers={self.max_workers})"

    # -- Runner: life ----------------------------------------------------------------------------

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        if self._sink is not None:
            raise RunnerError("this ProcessRunner was started before: make a new one")
        self._sink = sink
        root = Path("/dev/shm")
        root = root if root.is_dir() and os.access(root, os.W_OK) else Path(tempfile.gettempdir())
        sweep(root)
        self._folder = Path(tempfile.mkdtemp(prefix=f"anabranch-{os.getpid()}-", dir=root))
        (self._folder / "owner").write_text(f"{os.getpid()} {process_started(os.getpid())}")
        with self._lock:
            for _ in range(self.max_workers):
                self._spawn()
            if self.memory_limit is not None:
                self._start_watch()
        return Capabilities("process", values="held", stops_items=True)

    def slots(self) -> SlotsChanged:
        return SlotsChanged(self.max_workers, self.max_workers)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
            queued, self._queue = list(self._queue), deque()
        if self._sink is None:
            return
        self._tell([Report(chunk.id, 0, 0, True) for chunk in queued])
        if not cancel:
            with self._changed:
                self._changed.wait_for(lambda: not any(w.assigned for w in self._workers), timeout)
        with self._lock:
            workers = list(self._workers)
            left = [chunk for w in workers for chunk in w.assigned]
            for worker in workers:
                worker.assigned.clear()
                worker.retired = True
        for worker in workers:
            if cancel or left:
                worker.process.kill()
            else:
                worker.send(("exit",))
        for worker in workers:
            try:
                worker.process.wait(5.0)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._tell([ChunkLost(chunk, "stopped", "the runner was closed while it ran") for chunk in left])
        self._sink = None
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- Runner: work ----------------------------------------------------------------------------

    def put(self, shared_id: int, value: Any) -> None:
        try:
            blocks.put_file(value, self._folder / f"shared-{shared_id}")
        except Exception as error:
            raise unpicklable(value, error, cloudpickle.dumps, getattr(value, "name", "value")) from error

    def drop(self, shared_ids: Iterable[int]) -> None:
        gone = list(shared_ids)
        for shared_id in gone:
            (self._folder / f"shared-{shared_id}").unlink(missing_ok=True)
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            worker.send(("drop", gone))

    def submit(self, chunks: Sequence[Chunk]) -> None:
        with self._lock:
            if self._closing or self._sink is None:
                raise RunnerError(f"this ProcessRunner {'is closed' if self._closing else 'was not started'}")
            for chunk in chunks:
                if chunk.timeout:
                    self._start_watch()
                self._enqueue(chunk)
            sends = self._assign()
        self._send(sends)

    def _enqueue(self, chunk: Chunk) -> None:
        if chunk.priority and self._queue and self._queue[-1].priority < chunk.priority:
            at = next(n for n, other in enumerate(self._queue) if other.priority < chunk.priority)
            self._queue.insert(at, chunk)
        else:
            self._queue.append(chunk)

    def _assign(self) -> list[tuple[_Worker, Chunk]]:
        """Give chunks to workers that have room, the emptiest first."""
        sends: list[tuple[_Worker, Chunk]] = []
        while self._queue:
            free = [
                w for w in self._workers
                if not w.retired and len(w.assigned) < PREFETCH and not any(c in self._blocked for c in w.assigned)
            ]  # fmt: skip
            if not free:
                break
            worker = min(free, key=lambda w: len(w.assigned))
            chunk = self._queue.popleft()
            worker.assigned[chunk.id] = chunk
            self._where[chunk.id] = worker
            sends.append((worker, chunk))
        return sends

    def _send(self, sends: list[tuple[_Worker, Chunk]]) -> None:
        for worker, chunk in sends:
            try:
                data = cloudpickle.dumps(chunk, protocol=5)
            except Exception as error:
                culprit = unpicklable(chunk.args, error, cloudpickle.dumps, "argument")
                self._lose(worker, chunk.id, "unserializable", str(culprit))
                continue
            keep = self._limits.get(chunk.id)
            if keep is not None:
                worker.send(("limit", chunk.id, keep))
            worker.send(("chunk", pickle.dumps((chunk.id, data), protocol=5)))

    def _lose(self, worker: _Worker, chunk: int, reason: str, message: str) -> None:
        with self._lock:
            if worker.assigned.pop(chunk, None) is None:
                return
            self._forget(chunk)
            sends = self._assign()
        self._tell([ChunkLost(chunk, reason, message)])
        self._send(sends)

    def shorten(self, chunk: int, keep: int) -> None:
        with self._lock:
            self._limits[chunk] = min(keep, self._limits.get(chunk, keep))
            worker = self._where.get(chunk)
            queued = next((c for c in self._queue if c.id == chunk), None)
            if queued is not None and keep <= 0:
                self._queue.remove(queued)
        if worker is not None:
            worker.send(("limit", chunk, self._limits[chunk]))
        elif queued is not None and keep <= 0:
            self._limits.pop(chunk, None)
            self._tell([Report(chunk, 0, 0, True)])
        elif queued is None:
            self._limits.pop(chunk, None)

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        with self._lock:
            worker = self._where.get(chunk)
            queued = next((c for c in self._queue if c.id == chunk), None)
            if queued is not None and (positions is None or len(set(positions)) >= len(queued)):
                self._queue.remove(queued)
                done = True
            else:
                done = False
        if done:
            self._tell([Report(chunk, 0, 0, True)])
            return
        if worker is None:
            return
        worker.send(("cancel", chunk, None if positions is None else tuple(positions)))
        if not force:
            return
        running = worker.page.read()
        if running is not None and running.chunk == chunk and (positions is None or running.position in positions):
            self._kill(worker, "cancelled", running)

    def release(self, handles: Iterable[Handle]) -> None:
        for handle in handles:
            self._held.discard(handle)
            with contextlib.suppress(OSError):
                blocks.path_of(self._folder, handle).unlink()

    def fetch(self, handle: Handle, slots: Sequence[int]) -> list[Any]:
        return blocks.read(blocks.path_of(self._folder, handle), slots)

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        """A task waits for others: one more process works meanwhile."""
        with self._lock:
            count = self._blocked.get(worker_chunk, 0) + (1 if waiting else -1)
            if count > 0:
                self._blocked[worker_chunk] = count
            else:
                self._blocked.pop(worker_chunk, None)
            if waiting and count == 1:
                self._spawn()
            sends = self._assign()
        self._send(sends)

    # -- workers ---------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._serial += 1
        name = f"process-{self._serial}"
        page = Page(self._folder / f"page-{name}", create=True)
        ours, theirs = socket.socketpair()
        theirs.set_inheritable(True)
        fd = theirs.fileno()
        module = "anabranch.runners.process_worker"
        command = [sys.executable, "-m", module, str(fd), str(self._folder), name, self._entry]
        environ = dict(os.environ)
        # The child must find this very anabranch, wherever the driver found it.
        environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(command, pass_fds=(fd,), env=environ)
        theirs.close()
        connection = Connection(ours.detach())
        worker = _Worker(name, process, connection, page)
        connection.send_bytes(pickle.dumps([p if p else os.getcwd() for p in sys.path]))
        self._workers.append(worker)
        threading.Thread(target=self._read, args=(worker,), name=f"anabranch-{name}", daemon=True).start()

    def _read(self, worker: _Worker) -> None:
        """Take in what one worker says, to its end."""
        try:
            while True:
                self._hear(worker, pickle.loads(worker.connection.recv_bytes()))
        except (EOFError, OSError):
            pass
        worker.process.wait()
        self._ended(worker)

    def _hear(self, worker: _Worker, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == "report":
            self._reported(worker, message[1])
        elif kind == "log":
            self._tell([Logs(message[1], message[2])])
        elif kind == "lost":
            self._lose(worker, message[1], message[2], message[3])
        elif kind == "hello":
            self._check_versions(worker, message[2])
            self._tell([WorkerJoined(worker.name)])
        elif kind == "request":
            number = message[1]

            def reply(good: bool, payload: Any) -> None:
                worker.send(("reply", number, good, payload))

            self._tell([WorkerRequest(message[2], message[3], message[4], message[5], reply)])

    def _check_versions(self, worker: _Worker, theirs: dict[str, str]) -> None:
        ours = {"python": platform.python_version(), "cloudpickle": cloudpickle.__version__}
        if theirs != ours:
            worker.process.kill()
            raise VersionMismatch(f"driver has {ours}, worker {worker.name} has {theirs}")

    def _reported(self, worker: _Worker, report: Report) -> None:
        sends: list[tuple[_Worker, Chunk]] = []
        with self._lock:
            if report.chunk not in worker.assigned:
                return
            worker.done_items += report.count
            worker.reported[report.chunk] = report.first + report.count
            if report.final:
                del worker.assigned[report.chunk]
                self._forget(report.chunk)
                self._retire_if_due(worker)
                sends = self._assign()
                self._changed.notify_all()
        self._send(sends)
        self._tell([report])

    def _forget(self, chunk: int) -> None:
        self._where.pop(chunk, None)
        self._limits.pop(chunk, None)
        self._blocked.pop(chunk, None)

    def _retire_if_due(self, worker: _Worker) -> None:
        working = [w for w in self._workers if not w.retired]
        surplus = len(working) - len(self._blocked) > self.max_workers
        worn = self.max_tasks_per_child is not None and worker.done_items >= self.max_tasks_per_child
        if worker.retired or not (surplus or worn):
            return
        worker.retired = True
        for chunk in worker.assigned.values():  # what it was to do next goes to another
            self._queue.appendleft(chunk)
            self._where.pop(chunk.id, None)
        worker.assigned.clear()
        worker.send(("exit",))
        if not surplus:
            self._spawn()

    def _kill(self, worker: _Worker, why: str, detail: Any) -> None:
        with self._lock:
            if worker.stopping is None:
                worker.stopping = (why, detail)
                worker.process.kill()

    def _ended(self, worker: _Worker) -> None:
        """A worker's process is gone: blame what it ran, give the rest to others, replace it."""
        running = worker.page.read()
        events: list[Event] = []
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
            worker.connection.close()
            for chunk in list(worker.assigned.values()):
                del worker.assigned[chunk.id]
                began = chunk.id in worker.reported or (running is not None and running.chunk == chunk.id)
                if began or chunk.id in self._blocked:
                    self._forget(chunk.id)
                    events += self._verdict(worker, chunk, running)
                else:
                    self._where.pop(chunk.id, None)
                    self._queue.appendleft(chunk)
            lost = not worker.retired
            if lost and not self._closing:
                self._spawn()
            sends = self._assign()
            self._changed.notify_all()
        (self._folder / f"page-{worker.name}").unlink(missing_ok=True)
        if lost:
            events.append(WorkerLost(worker.name, exit_text(worker.process.returncode)))
        self._tell(events)
        self._send(sends)

    def _verdict(self, worker: _Worker, chunk: Chunk, running: Running | None) -> list[Event]:
        mine = running if running is not None and running.chunk == chunk.id else None
        why: str
        detail: Any
        why, detail = worker.stopping or ("", None)
        if why == "timeout" and mine:
            return [
                ItemTimedOut(chunk.id, detail.stage, detail.position, detail.limit),
                ChunkLost(chunk.id, "stopped", "its worker was stopped at the item's time limit"),
            ]
        if why == "cancelled" and mine:
            return [ItemCancelled(chunk.id, detail.position), ChunkLost(chunk.id, "stopped", "an item was cancelled")]
        suspects = (mine.position,) if mine is not None else ()
        reason = "out-of-memory" if why == "memory" else "worker-lost"
        text = str(detail) if why == "memory" else f"worker {worker.name} {exit_text(worker.process.returncode)}"
        return [ChunkLost(chunk.id, reason, text, suspects, alone=bool(suspects))]

    def _tell(self, events: Sequence[Event]) -> None:
        sink = self._sink
        if sink is not None and events:
            sink(events)

    # -- limits ----------------------------------------------------------------------------------

    def _start_watch(self) -> None:
        if self._watch is None:
            self._watch = threading.Thread(target=self._watch_main, name="anabranch-process-watch", daemon=True)
            self._watch.start()

    def _watch_main(self) -> None:
        """Look at each worker's page and memory; stop what is past its limit."""
        turn = 0
        while not self._closing:
            time.sleep(WATCH_SECONDS)
            turn += 1
            with self._lock:
                workers = [w for w in self._workers if w.assigned]
            now = time.monotonic()
            for worker in workers:
                running = worker.page.read()
                over = running is not None and running.limit > 0 and now - running.started > running.limit
                if over and running is not None and running.chunk in worker.assigned:
                    self._kill(worker, "timeout", running)
                elif self.memory_limit is not None and turn % 5 == 0:
                    used = resident(worker.process.pid)
                    if used > self.memory_limit:
                        limit = self.memory_limit >> 20
                        self._kill(worker, "memory", f"used {used >> 20} MB, more than its {limit} MB")
