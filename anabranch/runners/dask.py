"""Chunks on a Dask cluster: values stay on the workers, reports come as events, keys are our own.

    driver                                                      Dask
    ------                                                      ----
    submit/put/release -> actions -> sender thread --client-->  scheduler -> worker: run_on_worker
    sink <--- IO loop thread <--- topic <--- scheduler <------- worker.log_event(reports)
    fetch ----------------------------------client------------> pick(key, slots)

Why events and not results: a report must reach the driver while the chunk's values stay where
they are, and a chunk tells before it ends. Calls of the client wait for its loop, so they are
made on the sender thread alone: never on the loop's own thread, never under the pump's lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import threading
import uuid
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.contracts import Capabilities, ChunkLost, EngineLost, Handle, Held, Logs, Report, SlotsChanged
from anabranch.core.cpus import usable_cpus
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import MissingExtraError, ResultReleased, RunnerError, VersionMismatch
from anabranch.runners import dask_worker as worker_half
from anabranch.runners.entry import WORKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.contracts import Chunk, Event

OWN_CLUSTER = {
    "distributed.scheduler.worker-saturation": "inf",  # our window bounds what is queued
    "distributed.worker.profile.enabled": False,
    "distributed.admin.large-graph-warning-threshold": "1GB",
}


_registering = threading.Lock()  # cloudpickle's register is the program's


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise MissingExtraError("DaskRunner needs Dask: pip install 'anabranch[dask]'") from None
    return distributed


class DaskRunner:
    """Runs chunks on Dask workers; the cluster is started here, or borrowed and left as it is.

    Args:
        cluster: a cluster object to connect to.
        address: a scheduler's address.
        client: a `distributed.Client` to use.
        n_workers: processes of an own local cluster; None: the processors this process may use.
        threads_per_worker: of an own local cluster.
        run_chunk: the worker's half, as ``module:name``.

    Does not stop running items (a time limit is noticed when the item ends) and does not let
    tasks submit others, in this version.
    """

    def __init__(
        self,
        cluster: Any = None,
        *,
        address: str | None = None,
        client: Any = None,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        run_chunk: str = WORKER,
    ) -> None:
        if sum(x is not None for x in (cluster, address, client)) > 1:
            raise RunnerError("DaskRunner takes one of cluster=, address= and client=")
        self._cluster = cluster
        self._address = address
        self._client = client
        self._n_workers = n_workers or usable_cpus()
        self._threads = threads_per_worker
        self._entry = run_chunk
        self._own_cluster = self._own_client = False
        self._session = uuid.uuid4().hex[:12]
        self._topic = f"anabranch-{self._session}"
        self._sink: Callable[[Sequence[Event]], None] | None = None
        self._actions: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._shared: dict[int, Any] = {}  # shared id -> scattered future
        self._stage_refs: dict[int, tuple[int, ...]] = {}
        self._futures: dict[int, Any] = {}  # chunk -> future
        self._held: dict[int, set[Handle]] = {}
        self._open: dict[int, Chunk] = {}
        self._gone: set[Handle] = set()  # released, still to be dropped by the sender
        self._slots = 0
        self._closing = False

    def __repr__(self) -> str:
        return f"DaskRunner({self._address or self._cluster or f'n_workers={self._n_workers}'})"

    # -- life ------------------------------------------------------------------------------------

    def start(self, sink: Callable[[Sequence[Event]], None]) -> Capabilities:
        if self._sink is not None:
            raise RunnerError("this DaskRunner was started before: make a new one")
        distributed = _distributed()
        if self._client is None:
            self._connect(distributed)
        try:
            self._check_versions()
        except BaseException:
            self._disconnect()
            raise
        self._sink = sink
        self._slots = sum(self._client.nthreads().values()) or self._n_workers * self._threads
        self._client.subscribe_topic(self._topic, self._event)
        self._thread = threading.Thread(target=self._send_all, name="anabranch-dask", daemon=True)
        self._thread.start()
        return Capabilities("dask", values="held", values_survive_workers=False)

    def _connect(self, distributed: Any) -> None:
        import dask

        if self._cluster is None and self._address is None:
            with dask.config.set(OWN_CLUSTER):
                # Scheduler and workers as programs of their own: the user's script is not imported again,
                # and a big scheduler does not share the driver's memory.
                from distributed.deploy.subprocess import SubprocessCluster

                self._cluster = SubprocessCluster(
                    n_workers=self._n_workers, threads_per_worker=self._threads, host="127.0.0.1",
                    dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                )  # fmt: skip
            self._own_cluster = True
        self._own_client = True
        self._client = distributed.Client(self._cluster or self._address, set_as_default=False)
        self._client.wait_for_workers(1, timeout=60)

    def _check_versions(self) -> None:
        ours = worker_half.versions()
        for name, theirs in self._client.run(worker_half.versions).items():
            if theirs != ours:
                raise VersionMismatch(f"driver has {ours}, Dask worker {name} has {theirs}")

    def slots(self) -> SlotsChanged:
        return SlotsChanged(self._slots, None if not self._own_cluster else self._slots)

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
            running = list(self._futures.values())
        if self._sink is None:
            return
        if not cancel and running:
            done = threading.Event()
            self._actions.put(("call", done.set))
            done.wait(timeout)
            with contextlib.suppress(Exception):
                _distributed().wait([f for f in self._futures.values() if not f.done()], timeout=timeout)
            self._wait_reports(timeout)
        self._actions.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10.0)
        with self._lock:
            left = list(self._open)
            self._open.clear()
        self._tell([ChunkLost(chunk, "stopped", "the runner was closed while it ran") for chunk in left])
        self._sink = None
        with contextlib.suppress(Exception):
            self._client.unsubscribe_topic(self._topic)
        self._futures.clear()
        self._shared.clear()
        self._disconnect()

    def _wait_reports(self, timeout: float | None) -> None:
        """Results are there; the events that tell of them may still be on their way."""
        waited = threading.Event()
        for _ in range(100):
            if not self._open:
                return
            waited.wait(min(0.05, timeout or 0.05))

    def _disconnect(self) -> None:
        logger = logging.getLogger("distributed")
        level, logger_level = logging.CRITICAL, logger.level
        logger.setLevel(level)
        try:
            with contextlib.suppress(Exception):
                if self._own_client and self._client is not None:
                    self._client.close()
            with contextlib.suppress(Exception):
                if self._own_cluster:
                    self._cluster.close()
        finally:
            logger.setLevel(logger_level)

    # -- work ------------------------------------------------------------------------------------

    def put(self, shared_id: int, value: Any) -> None:
        try:
            with _by_value(getattr(value, "fn", None)):
                blob = cloudpickle.dumps(value, protocol=5)
        except Exception as error:
            raise unpicklable(value, error, cloudpickle.dumps, getattr(value, "name", "value")) from error
        if hasattr(value, "binding"):  # a stage: chunks that name it need what it names too
            refs = (shared_id, value.spec) if value.constants is None else (shared_id, value.spec, value.constants)
            self._stage_refs[shared_id] = refs
        self._actions.put(("put", shared_id, blob))

    def drop(self, shared_ids: Iterable[int]) -> None:
        self._actions.put(("drop", tuple(shared_ids)))

    def submit(self, chunks: Sequence[Chunk]) -> None:
        with self._lock:
            if self._closing or self._sink is None:
                raise RunnerError(f"this DaskRunner {'is closed' if self._closing else 'was not started'}")
            for chunk in chunks:
                self._open[chunk.id] = chunk
        for chunk in chunks:
            self._actions.put(("chunk", chunk))

    def shorten(self, chunk: int, keep: int) -> None:
        self._actions.put(("run", worker_half.note_limit, (self._session, chunk, keep)))

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        where = None if positions is None else tuple(positions)
        self._actions.put(("run", worker_half.note_cancel, (self._session, chunk, where)))

    def release(self, handles: Iterable[Handle]) -> None:
        gone = tuple(handles)
        self._gone.update(gone)
        self._actions.put(("release", gone))

    def fetch(self, handle: Handle, slots: Sequence[int]) -> list[Any]:
        future = self._futures.get(handle.chunk)
        if future is None or handle in self._gone:
            raise ResultReleased(f"the values of {handle} were released")
        try:
            part = self._client.submit(
                worker_half.pick, future, handle.stage, handle.first, list(slots), pure=False,
                key=f"anabranch-pick-{uuid.uuid4().hex}",
            )  # fmt: skip
            found: list[Any] = part.result()
        except Exception as error:
            raise RunnerError(f"cannot fetch {handle} from Dask: {type(error).__name__}: {error}") from error
        return found

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        """Tasks on Dask workers do not wait for others in this version."""

    # -- the sender thread -----------------------------------------------------------------------

    def _send_all(self) -> None:
        while (action := self._actions.get()) is not None:
            try:
                self._do(action)
            except Exception as error:
                self._failed(action, error)
            del action

    def _do(self, action: tuple[Any, ...]) -> None:
        kind = action[0]
        if kind == "chunk":
            self._submit(action[1])
        elif kind == "put":
            self._shared[action[1]] = self._client.scatter(action[2], hash=False)
        elif kind == "drop":
            for shared_id in action[1]:
                self._shared.pop(shared_id, None)
                self._stage_refs.pop(shared_id, None)
        elif kind == "release":
            for handle in action[1]:
                self._released(handle)
        elif kind == "run":
            self._client.run(action[1], *action[2], on_error="ignore")
        elif kind == "call":
            action[1]()

    def _failed(self, action: tuple[Any, ...], error: Exception) -> None:
        if action[0] == "chunk":
            self._lose(action[1].id, "engine-lost", f"Dask refused it: {type(error).__name__}: {error}")

    def _submit(self, chunk: Chunk) -> None:
        try:
            payload = cloudpickle.dumps(chunk, protocol=5)
        except Exception as error:
            self._lose(chunk.id, "unserializable", str(unpicklable(chunk.args, error, cloudpickle.dumps, "argument")))
            return
        refs = dict.fromkeys(ref for stage in chunk.stages for ref in self._stage_refs.get(stage, (stage,)))
        shared = {ref: self._shared[ref] for ref in refs}
        inputs = {handle.chunk: self._futures[handle.chunk] for handle, _ in chunk.inputs}
        future = self._client.submit(
            worker_half.run_on_worker, self._session, self._topic, self._entry, payload, shared, inputs,
            key=f"anabranch-{self._session}-{chunk.id}", pure=False, retries=0, priority=chunk.priority,
        )  # fmt: skip
        with self._lock:
            self._futures[chunk.id] = future
        number = chunk.id
        future.add_done_callback(lambda done: self._done(number, done))

    def _done(self, chunk: int, future: Any) -> None:
        """The key has ended; that it failed is news, its report came as an event."""
        if future.status == "error":
            error = future.exception()
            self._lose(chunk, "worker-lost", f"{type(error).__name__}: {error}")
        elif future.status == "cancelled" and chunk in self._open and not self._closing:
            self._tell([EngineLost("the Dask scheduler gave our keys up (lost, closed or restarted)")])

    def _lose(self, chunk: int, reason: str, message: str) -> None:
        with self._lock:
            if self._open.pop(chunk, None) is None:
                return
            self._futures.pop(chunk, None)
        self._tell([ChunkLost(chunk, reason, message)])

    def _released(self, handle: Handle) -> None:
        held = self._held.get(handle.chunk)
        self._gone.discard(handle)
        if held is None:
            return
        held.discard(handle)
        if not held and handle.chunk not in self._open:
            del self._held[handle.chunk]
            self._futures.pop(handle.chunk, None)

    # -- events ----------------------------------------------------------------------------------

    def _event(self, event: Any) -> None:
        """On the client's loop: take note, tell the sink, which must not call the client."""
        message = pickle.loads(event[1])
        if message[0] == "log":
            self._tell([Logs(message[1], message[2])])
            return
        report: Report = message[1]
        with self._lock:
            if report.chunk not in self._open:
                return
            held = [n for n, block in enumerate(report.blocks) if isinstance(block, Held)]
            if held:
                kept = self._held.setdefault(report.chunk, set())
                kept.update(_handle(report, stage) for stage in held)
            if report.final:
                del self._open[report.chunk]
        self._tell([report])
        if report.final and not self._held.get(report.chunk):
            self._actions.put(("call", lambda: self._futures.pop(report.chunk, None)))

    def _tell(self, events: Sequence[Event]) -> None:
        sink = self._sink
        if sink is not None and events:
            sink(events)


def _handle(report: Report, stage: int) -> Handle:
    return Handle(report.chunk, stage, report.first)


@contextlib.contextmanager
def _by_value(fn: Any) -> Any:
    """Send the module of a user's function along: workers elsewhere cannot import it."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    path = os.path.realpath(getattr(module, "__file__", None) or "")
    known = [os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(__file__)))]
    if module is None or module.__name__ == "__main__" or not path or any(path.startswith(k) for k in known):
        yield
        return
    with _registering:
        mine = module.__name__ not in cloudpickle.cloudpickle.list_registry_pickle_by_value()
        if mine:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            if mine:
                cloudpickle.unregister_pickle_by_value(module)
