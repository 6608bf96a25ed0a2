"""A fake remote runner: all that can go wrong with an engine elsewhere, by script or by seed."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.contracts import Capabilities
from anabranch.core.errors import RunnerError, SerializationError
from anabranch.core.events import ChunkLost, ChunkStarted, SlotsChanged
from anabranch.core.reports import Report
from anabranch.runners.entry import resolve
from anabranch.testing.fake_engine import FakeEngine
from anabranch.testing.fake_worker import FakePort, FakeWorker, Faults, WorkerDied, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import Event
    from anabranch.runners.entry import RunChunk

    Sink = Callable[[Sequence[Event]], None]


class FakeRemoteRunner:
    """Runs chunks on workers that share nothing with the driver but pickled bytes.

    Args:
        workers: how many there are; a lost one is replaced.
        slots: chunks that each runs at once.
        seed: every choice and every fault is drawn from it; in manual mode runs repeat exactly.
        faults: how often what goes wrong; faults of the script (`lose_worker` and the like) need none.
        mode: "auto": chunks run on threads, events come from another thread; "manual": nothing
            happens but in `step`, in the thread that calls it.
        resources: what each worker offers; a chunk that asks for more waits for ever.
        elastic: the workers may come to offer more, see `offer`.
        run_chunk: the worker's half, as a function or as ``module:name``.

    The history, for assertions: `sent` (a copy of each submitted chunk, without its arguments'
    identity), `delivered` (events), `released` (handles), `alive_blocks` (handles of blocks that
    workers hold) and `shared_ids`.
    """

    def __init__(
        self,
        workers: int = 2,
        slots: int = 1,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        mode: str = "auto",
        resources: dict[str, float] | None = None,
        elastic: bool = False,
        run_chunk: str | RunChunk | None = None,
    ) -> None:
        if mode not in ("auto", "manual"):
            raise ValueError(f"mode must be 'auto' or 'manual', got {mode!r}")
        self.auto = mode == "auto"
        self.faults = faults or Faults()
        self.sent: list[Chunk] = []
        self.delivered: list[Event] = []
        self._engine = engine = FakeEngine(workers, slots, seed, self.faults, dict(resources or {}), self._launch)
        self.workers = engine.workers
        # The script of a test: faults at a moment of its choice.
        self.lose_worker, self.join_worker = engine.lose_worker, engine.join_worker
        self.pause_worker = engine.pause_worker
        self.lose_values, self.lose_engine = engine.lose_values, engine.lose_engine
        self.offer, self.repeat = engine.offer, engine.repeat
        self._size = workers, slots
        self._elastic = elastic
        self._entry = run_chunk
        self._run_chunk: RunChunk | None = None
        self._sink: Sink | None = None
        self._shared: dict[int, bytes] = {}
        self._news = engine.news
        self._delivering = 0
        self._closed = False

    def __repr__(self) -> str:
        return "FakeRemoteRunner(workers={}, slots={})".format(*self._size)

    # -- Runner ----------------------------------------------------------------------------------

    def start(self, sink: Sink) -> Capabilities:
        if self._run_chunk is not None:
            raise RunnerError("A FakeRemoteRunner starts only once. Create a new one.")
        self._run_chunk = resolve(self._entry)
        self._sink = sink
        if not self.faults.slow_start:
            with self._news:
                self._engine.start()
                self._engine.outbox.clear()  # `slots` tells of the workers that are there at the start
        if self.auto:
            threading.Thread(target=self._post, name="anabranch-fake-post", daemon=True).start()
        total = tuple(self._engine.offers.items())
        return Capabilities(
            "fake", values="held", values_survive_workers=False, nested=self.auto, resources=total,
            resources_elastic=self._elastic,
        )  # fmt: skip

    def slots(self) -> SlotsChanged:
        with self._news:
            return self._engine.slots()

    def put(self, shared_id: int, value: Any) -> None:
        try:
            self._shared[shared_id] = pickled(value)
        except Exception as error:
            raise SerializationError(f"cannot pickle {type(value).__name__}: {error}") from error

    def drop(self, shared_ids: Iterable[int]) -> None:
        with self._news:
            for shared_id in shared_ids:
                self._shared.pop(shared_id, None)
                for worker in self.workers:
                    worker.loaded.pop(shared_id, None)

    def submit(self, chunks: Sequence[Chunk]) -> None:
        early: list[FakePort] = []
        with self._news:
            if self._closed or self._run_chunk is None:
                raise RunnerError(f"this FakeRemoteRunner {'is closed' if self._closed else 'was not started'}")
            if self._engine.lost:
                return
            for chunk in chunks:
                try:
                    port = FakePort(self, pickled(chunk))
                except Exception as error:
                    lost = ChunkLost(chunk.id, "unserializable", f"{type(error).__name__}: {error}")
                    self._engine.say(chunk.id, lost)
                    continue
                self.sent.append(pickle.loads(port.data))
                if self._engine.now() and self._engine.happens(self.faults.early):
                    early.append(port)
                else:
                    self._engine.queue.append(port)
            if self.faults.slow_start and not self.workers:
                self._engine.start()
            self._launch()
        for port in early:
            worker = self._engine.random.choice([w for w in self.workers if w.alive])
            self._run(worker, port)
            while not self.auto and self._deliver():
                pass
        if early and self.auto:
            ids = {port.id for port in early}
            with self._news:  # bounded: the sink may need the lock that our caller holds
                self._news.wait_for(lambda: not any(chunk in ids for chunk, _ in self._engine.outbox), 0.2)

    def shorten(self, chunk: int, keep: int) -> None:
        with self._news:
            for port in self._engine.find(chunk):
                port.keep = keep if port.keep is None else min(port.keep, keep)

    def cancel(self, chunk: int, positions: Sequence[int] | None = None, *, force: bool = False) -> None:
        with self._news:
            for port in self._engine.find(chunk):
                before = port.cancels
                port.cancels = None if positions is None or before is None else before.union(positions)

    def release(self, handles: Iterable[BlockHandle]) -> None:
        self._engine.blocks.release(handles)  # no lock: this may be a finalizer

    def fetch(self, handle: BlockHandle, slots: Sequence[int]) -> list[Any]:
        values = self.read(handle)
        return [values[slot] for slot in slots]

    def blocked(self, worker_chunk: int, waiting: bool) -> None:
        with self._news:
            for port in self._engine.find(worker_chunk):
                port.blocked = max(0, port.blocked + (1 if waiting else -1))
            self._launch()

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        with self._news:
            if self._closed:
                return
            self._closed = True
            for port in self._engine.queue:
                self._engine.say(port.id, Report(port.id, 0, 0, True))
            self._engine.queue.clear()
            if self.auto and not cancel:
                here = threading.get_ident()
                self._news.wait_for(
                    lambda: all(p.ident == here for w in self.workers for p in w.running.values()), timeout
                )
            for worker in self.workers:
                for port in list(worker.running.values()):
                    port.lost, port.speaks = True, False
                    if not port.ended:
                        self._engine.say(port.id, ChunkLost(port.id, "stopped", "the runner was closed"))
            if self.auto and self._sink is not None:
                mine = threading.current_thread().name == "anabranch-fake-post"
                self._news.wait_for(lambda: mine or not (self._engine.outbox or self._delivering), 5)
        while self._deliver():
            pass
        self._sink = None
        with self._news:
            self._news.notify_all()

    # -- history ---------------------------------------------------------------------------------

    @property
    def alive_blocks(self) -> set[BlockHandle]:
        with self._news:
            return self._engine.blocks.alive()

    @property
    def released(self) -> set[BlockHandle]:
        with self._news:
            self._engine.blocks.alive()
            return set(self._engine.blocks.released)

    @property
    def shared_ids(self) -> set[int]:
        return set(self._shared)

    # -- steps ------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do one thing: start and run a waiting chunk, or deliver an event. False: nothing to do."""
        with self._news:
            ready = self._engine.startable()
        if ready and (not self._engine.outbox or self._engine.random.random() < 0.5):
            worker, port = ready
            self._engine.take(worker, port)
            self._run(worker, port)
            return True
        return self._deliver()

    def run_until_idle(self, most: int = 1_000_000) -> int:
        """Step until nothing is left to do; the number of steps."""
        steps = 0
        while steps < most and self.step():
            steps += 1
        return steps

    # -- for ports -------------------------------------------------------------------------------

    def shared_data(self, shared_id: int) -> bytes:
        try:
            return self._shared[shared_id]
        except KeyError:
            raise RunnerError(f"nothing was put under the shared id {shared_id}, or it was dropped") from None

    def read(self, handle: BlockHandle) -> list[Any]:
        with self._news:
            return self._engine.blocks.read(handle)

    def store(self, worker: FakeWorker, handle: BlockHandle, data: bytes) -> None:
        with self._news:
            self._engine.blocks.store(worker, handle, data)

    def send(self, port: FakePort, event: Event) -> None:
        """An event leaves a worker."""
        with self._news:
            if (port.lost and not port.speaks) or port.ended or self._engine.lost:
                return
            port.ended = isinstance(event, Report) and event.final
            self._engine.say(port.id, event)
            if isinstance(event, Report) and self._engine.happens(self.faults.duplicate):
                self._engine.say(port.id, event)

    def die(self, port: FakePort) -> None:
        """The worker of this port dies, as its faults want it to."""
        if port.on is not None and port.on.alive:
            self.lose_worker(port.on.name, reason="a fault")

    # -- inside ----------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._news.notify_all()
        while self.auto and self._run_chunk is not None and (ready := self._engine.startable()):
            self._engine.take(*ready)
            threading.Thread(target=self._run, args=ready, name=f"anabranch-{ready[0].name}", daemon=True).start()

    def _run(self, worker: FakeWorker, port: FakePort) -> None:
        """One chunk from start to end, on the thread that plays its worker."""
        assert self._run_chunk is not None
        with self._news:
            self._engine.trouble(port)
            port.on, port.worker = worker, worker.name
            port.ident = threading.get_ident()
            worker.running[port.id] = port
            if not port.lost:
                self._engine.say(port.id, ChunkStarted(port.id, worker.name))
        try:
            if not port.lost:
                self._run_chunk(pickle.loads(port.data), port)
        except WorkerDied:
            pass
        except BaseException as error:
            with self._news:
                if not (port.lost or port.ended):
                    self._engine.say(port.id, ChunkLost(port.id, "worker-lost", f"{type(error).__name__}: {error}"))
        with self._news:
            worker.running.pop(port.id, None)
            if worker.alive and not self._closed and self._engine.happens(self.faults.rerun):
                self._engine.queue.append(port.again())
            self._launch()

    def _deliver(self) -> bool:
        """Hand one event to the driver; False when there is none."""
        with self._news:
            sink = self._sink
            event = None if sink is None else self._engine.next_event()
            if sink is None or event is None:
                return False
            self._delivering += 1
            self.delivered.append(event)
        try:
            sink([event])
        finally:
            with self._news:
                self._delivering -= 1
                self._news.notify_all()
        return True

    def _post(self) -> None:
        while not (self._closed and self._sink is None):
            with self._news:
                self._news.wait_for(lambda: self._engine.outbox or self._sink is None)
                self._launch()
            self._deliver()
