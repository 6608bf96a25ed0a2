"""Chunks on worker processes of our own, over sockets: a dead worker costs what it ran, and nothing else.

    driver                                                       worker, one process each
    ------                                                       ------------------------
    submit  --pickle--> queue --> at most 2 a worker --chunks-->  main thread: run_chunk(chunk, port)
    put, shorten, cancel, replies -------------------control-->   listening thread
    sink    <-- the pool's one thread <-- reports, logs <--control--  port
    look    <-- page: what runs, since when, how long it may  <--mapped----  port.item
    fetch   <-- files in shared memory, the driver's own      <--mapped----  large values
                (inputs of later chunks: read there by the workers themselves)

The first of a worker's two chunks runs, the second lies ready in its socket and can be taken
back: when another worker has nothing to do, when the first one's task waits for others, and when
the worker dies, which is no loss for it.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.core.contracts import Capabilities
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import RunnerError
from anabranch.core.events import ChunkLost, SlotsChanged
from anabranch.core.machine import usable_cpus, usable_memory
from anabranch.core.module_state import carried
from anabranch.core.option_checks import parse_bytes
from anabranch.core.own_runners import OwnRunner
from anabranch.core.reports import Block, Held
from anabranch.core.showing import Facts, life, resource_rows
from anabranch.runners.entry import WORKER
from anabranch.runners.placing.jobs import Job, named_by, needed
from anabranch.runners.process import wire
from anabranch.runners.process.in_flight import InFlight, SharedValue
from anabranch.runners.process.worker_pool import WorkerPool
from anabranch.runners.transport.refusals import unserializable
from anabranch.runners.transport.value_files import Store, block_name, dumps, importing, pickled_beside, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import Event
    from anabranch.runners.process.worker_handle import WorkerProcess

_WORKER_MODULE = "anabranch.runners.process.worker"


class ProcessRunner(OwnRunner):
    """Runs chunks on processes of this machine; right for Python code that keeps a processor busy.

    Args:
        max_workers: how many chunks run at once; None: as many as there are usable processors.
        memory_limit: bytes (or "2 GiB") of its own that a worker may use; above it is killed, and its
            chunk is lost as out-of-memory. Mapped constants and results do not count.
        max_tasks_per_child: a worker that was given so many items is replaced when it has done them;
            a chunk is never cut for this.
        native_threads: threads of each library under NumPy (BLAS, OpenMP) in a worker. None: what the environment
            says (``OMP_NUM_THREADS`` and its like), else an even share of the usable processors.
        resources: what tasks may ask for besides ``cpus`` (as many as workers, or processors if
            there are more) and ``memory``; together they never take more than there is.
        run_chunk: the worker's half, as ``module:name``, imported by the workers.

    Workers are up from `start` to `close`. They import what can be imported, from the driver's
    `sys.path`; the user's script is not run again (no ``if __name__ == "__main__"`` is needed),
    its functions and classes travel by value. A worker that dies is replaced at once, and only
    the item it ran is to blame; an item past its time limit, or cancelled by force, ends with its
    worker. A task that waits for others lends its place to an extra worker. Values over 64 KiB
    stay in shared memory, owned by the driver: they survive their worker and go with `close`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        memory_limit: int | str | None = None,
        max_tasks_per_child: int | None = None,
        native_threads: int | None = None,
        resources: dict[str, float] | None = None,
        run_chunk: str = WORKER,
    ) -> None:
        counts = {"max_workers": max_workers, "max_tasks_per_child": max_tasks_per_child}
        for name, value in {**counts, "native_threads": native_threads}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be greater than 0, got {value}")
        self.max_workers: int = max_workers or usable_cpus()
        self.memory_limit: int | None = parse_bytes(memory_limit)
        self.max_tasks_per_child = max_tasks_per_child
        cpus = float(max(self.max_workers, usable_cpus()))
        self._offers = {"cpus": cpus, "memory": float(usable_memory()), **(resources or {})}
        self._entry = run_chunk
        self._native = native_threads
        self._in_flight = InFlight(self.max_workers, self._offers, self.memory_limit, max_tasks_per_child)
        self._pool: WorkerPool | None = None
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"ProcessRunner(max_workers={self.max_workers})"

    def facts(self) -> Facts:
        status = life(started=self._pool is not None, closed=self._in_flight.closed)
        rows = (("slots", self.max_workers, ""), ("memory limit of a worker", self.memory_limit, "B"))
        return Facts("ProcessRunner", status=status, rows=(*rows, *resource_rows(self._offers, slots=self.max_workers)))

    @property
    def _workers(self) -> list[WorkerProcess]:
        """The workers; for tests, which kill them."""
        return [] if self._pool is None else self._pool.workers

    @property
    def _folder(self) -> Path:
        """Where large values lie; for tests."""
        return Path(self._in_flight.store.folders[0])

    # -- life ------------------------------------------------------------------------------------

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        in_flight = self._in_flight
        if self._pool is not None or in_flight.closed:
            raise RunnerError("A ProcessRunner starts only once. Create a new one.")
        self._pid = os.getpid()
        in_flight.sink = sink
        in_flight.store = Store.create()
        folders = in_flight.store.folders
        self._pool = WorkerPool(in_flight, self.max_workers, self._entry, folders, _WORKER_MODULE, self._native)
        in_flight.pool = self._pool
        self._at_exit = self.close  # this object's: another one may be closed by its user
        atexit.register(self._at_exit, cancel=True)
        try:
            self._pool.start()
        except RunnerError:
            self.close(cancel=True)
            raise
        offers = tuple(self._offers.items())
        spills = len(in_flight.store.folders) > 1
        return Capabilities(
            "process", values="held", stops_items=True, nested=True, resources=offers, spills=spills
        )

    def slots(self) -> SlotsChanged:
        return SlotsChanged(self.max_workers, self.max_workers)

    def resize(self, max_workers: int) -> None:
        """Have so many chunks run at once from now on: workers start at once, those too many end when they are idle."""
        pool = self._pool
        if pool is None or max_workers == self.max_workers:
            return
        with self._in_flight.lock:
            self.max_workers = self._in_flight.size = pool.size = max_workers
            pool.look_soon()

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        """Give back what is queued, wait for what runs, end the workers; what still runs after that is lost."""
        if self._pid != os.getpid():  # a forked copy of the driver owns nothing, and may never get the lock
            return
        in_flight, pool = self._in_flight, self._pool
        here = pool is not None and threading.current_thread() is pool.thread
        with in_flight.lock:
            if in_flight.closed:
                return
            in_flight.closed = True
            if pool is None:
                return
            in_flight.give_all_back()
            pool.look_soon()
            if not (cancel or here):
                in_flight.empty.wait_for(lambda: not in_flight.jobs, timeout)
            over = pool.end()
        if here:  # called by the sink: this is the thread that makes the turns
            while pool.workers:
                pool.turn()
        else:
            over.wait()
            pool.thread.join()
        atexit.unregister(self._at_exit)
        in_flight.store.remove()
        in_flight.shared.clear()

    # -- work ------------------------------------------------------------------------------------

    def put(self, shared_id: int, value: Any) -> None:
        try:
            data, name = self._parcel(carried(value, dumps), f"s{shared_id}")
        except OSError as error:
            raise RunnerError(f"no room in shared memory for what {_title(value)} needs: {error}") from error
        except Exception as error:
            with importing():
                raise unpicklable(value, error, refused, _title(value)) from error
        frame = wire.message(wire.SHARED, shared_id, data, name)
        self._in_flight.shared[shared_id] = SharedValue(frame, named_by(value), name)
        pool = self._pool
        if pool is not None:
            pool.around.put(shared_id, value)
        if pool is not None and pool.path != sys.path:
            with self._in_flight.lock:
                pool.path = list(sys.path)
                for worker in pool.workers:
                    self._in_flight.control(worker, wire.PATH, *pool.path)

    def drop(self, shared_ids: Iterable[int]) -> None:
        gone = tuple(shared_ids)
        if self._pool is not None:
            self._pool.around.drop(gone)
        with self._in_flight.lock:
            self._in_flight.drop(gone)

    def submit(self, chunks: Sequence[Chunk]) -> None:
        pool = self._pool
        if pool is None or self._in_flight.closed:
            raise RunnerError(f"this ProcessRunner {'is closed' if self._in_flight.closed else 'was not started'}")
        made = [self._job(chunk) for chunk in chunks]
        now = pool.around.look()
        if now.number:
            for job, chunk in zip(made, chunks, strict=True):
                if isinstance(job, Job):
                    job.around = pool.around.of(chunk.stages, now)
        with self._in_flight.lock:
            self._in_flight.take(made)
        if pool.asleep:
            pool.wake()

    def shorten(self, chunk: int, keep: int) -> None:
        with self._in_flight.lock:
            self._in_flight.shorten(chunk, keep)

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        with self._in_flight.lock:
            self._in_flight.cancel(chunk, positions, force=force)

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        """A task waits for others: its worker gets nothing more, and another one works meanwhile."""
        with self._in_flight.lock:
            self._in_flight.blocked(worker_chunk, 1 if waiting else -1)

    # -- values ----------------------------------------------------------------------------------

    def release(self, handles: Iterable[BlockHandle]) -> None:
        self._in_flight.blocks.released.extend(handles)
        pool = self._pool
        if pool is not None and pool.asleep:
            pool.wake()

    def fetch(self, handle: BlockHandle, slots: Sequence[int]) -> list[Any]:
        """Values of a block; their large arrays are the shared memory itself, copied where they are written to."""
        if self._in_flight.closed:
            raise RunnerError(f"this ProcessRunner is closed, and the values of {block_name(handle)} went with it")
        self._in_flight.blocks.let_go(self._in_flight.store)
        with self._in_flight.store.open(block_name(handle)) as block:
            return block.load_many(slots)

    def spill(self, handle: BlockHandle, block: Block) -> Held:
        try:
            self._in_flight.store.spill(block_name(handle))
        except OSError as error:
            raise RunnerError(f"values could not be moved to {self._in_flight.store.folders[-1]}: {error}") from error
        return block if isinstance(block, Held) else Held()

    def move(self, handle: BlockHandle, slots: Sequence[int], to: BlockHandle) -> Held:
        store = self._in_flight.store
        try:
            with store.open(block_name(handle)) as block:
                size = store.write(block_name(to), [block.raw(slot) for slot in slots])
        except OSError as error:
            raise RunnerError(f"no room to move values to: {error}") from error
        with self._in_flight.lock:
            self._in_flight.blocks.add(to)
        return Held(size)

    # -- pickling --------------------------------------------------------------------------------

    def _parcel(self, value: Any, name: str) -> tuple[bytes, str | None]:
        """A value pickled, or the name of the file where it lies because it is large."""
        data, buffers = pickled_beside(value)
        if not buffers and len(data) < wire.MESSAGE_BYTES - 100:
            return data, None
        self._in_flight.store.write(name, [(data, buffers)])
        return b"", name

    def _job(self, chunk: Chunk) -> Job[WorkerProcess] | ChunkLost:
        try:
            data, name = self._parcel(wire.chunk_fields(chunk), f"a{chunk.id}")
        except OSError as error:
            return ChunkLost(chunk.id, "out-of-memory", f"no room for the arguments in shared memory: {error}")
        except Exception as error:
            with importing():
                return unserializable(chunk, error)
        needs = needed(chunk.stages, self._in_flight.shared)
        return Job(chunk.id, len(chunk), data, needs, chunk.priority, chunk.resources, name)


def _title(value: Any) -> str:
    return getattr(value, "name", None) or "value"
