"""The engine behind the fake remote runner: its workers, queue and events, and what a test makes happen to them."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from anabranch.core.events import ChunkLost, EngineLost, SlotsChanged, ValuesLost, WorkerJoined, WorkerLost
from anabranch.testing.fake_worker import FakeBlocks, FakeWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.chunks import BlockHandle
    from anabranch.core.events import Event
    from anabranch.testing.fake_worker import FakePort, Faults


class FakeEngine:
    """State under one lock, `news`; the runner brings events to the driver and gives chunks their threads.

    Args:
        launch: called when a chunk may be able to start.
    """

    def __init__(
        self, count: int, slots: int, seed: int, faults: Faults, offers: dict[str, float], launch: Callable[[], None]
    ) -> None:
        self.news = threading.Condition(threading.RLock())
        self.faults = faults
        self.workers: list[FakeWorker] = []
        self.blocks = FakeBlocks(self.workers)
        self.queue: list[FakePort] = []
        self.outbox: list[tuple[int, Event]] = []  # (chunk or -1, event)
        self.offers = offers
        self.lost = False
        self.random = random.Random(seed)
        self._count = count
        self._slots = slots
        self._serial = 0
        self._injected = 0
        self._launch = launch

    # -- the script: faults at a moment that the test chooses ------------------------------------

    def lose_worker(self, name: str | None = None, *, replace: bool = True, reason: str = "killed") -> str:
        """A worker dies now, with its blocks and its chunks; the first one unless named."""
        with self.news:
            alive = [w for w in self.workers if w.alive and name in (None, w.name)]
            if not alive:
                raise ValueError(f"no worker {name!r} is alive")
            worker = alive[0]
            worker.alive = False
            self.workers.remove(worker)
            for port in worker.running.values():
                port.lost = True
                port.speaks = self.happens(self.faults.late)
                if not port.ended:
                    suspects = (port.position,) if port.position >= 0 else None
                    lost = ChunkLost(port.id, "worker-lost", f"{worker.name}: {reason}", suspects, bool(suspects))
                    self.say(port.id, lost)
            self.say(-1, WorkerLost(worker.name, reason))
            if worker.blocks:
                self.say(-1, ValuesLost(tuple(worker.blocks)))
                worker.blocks = {}
            if replace:
                self._join()
            else:
                self.say(-1, self.slots())
            return worker.name

    def join_worker(self) -> str:
        with self.news:
            return self._join().name

    def lose_values(self, *handles: BlockHandle) -> None:
        """These blocks are gone, though their workers live."""
        with self.news:
            self.blocks.lose(handles)
            self.say(-1, ValuesLost(handles))

    def lose_engine(self, reason: str = "the scheduler is gone") -> None:
        """One `EngineLost`, then nothing."""
        with self.news:
            self.lost = True
            for worker in self.workers:
                for port in worker.running.values():
                    port.lost, port.speaks = True, False
            self.workers.clear()
            self.queue.clear()
            self.outbox[:] = [(-1, EngineLost(reason))]
            self.news.notify_all()

    def pause_worker(self, name: str, paused: bool = True) -> None:
        """A worker takes no more chunks for a while: slots come and go."""
        with self.news:
            for worker in self.workers:
                if worker.name == name:
                    worker.paused = paused
            self.say(-1, self.slots())
            self._launch()

    def offer(self, **resources: float) -> None:
        """Every worker has these from now on: an elastic cluster has grown."""
        with self.news:
            self.offers.update(resources)
            self.say(-1, SlotsChanged(self.now(), self._count * self._slots, dict(self.offers)))
            self._launch()

    def repeat(self, event: Event) -> None:
        """Deliver an event once more."""
        with self.news:
            self.say(getattr(event, "chunk", -1), event)

    # -- for the runner --------------------------------------------------------------------------

    def slots(self) -> SlotsChanged:
        return SlotsChanged(self.now(), self._count * self._slots)

    def start(self) -> None:
        """All workers join."""
        for _ in range(self._count):
            self._join()

    def now(self) -> int:
        """How many chunks can run at once."""
        return sum(self._slots for worker in self.workers if not worker.paused)

    def happens(self, chance: float) -> bool:
        if not chance or self._injected >= self.faults.most or self.random.random() >= chance:
            return False
        self._injected += 1
        return True

    def say(self, chunk: int, event: Event) -> None:
        """Put an event among those for the driver."""
        if not self.lost:
            self.outbox.append((chunk, event))
            self.news.notify_all()

    def next_event(self) -> Event | None:
        """Take one out: the oldest, or where they are shuffled the oldest of some chunk."""
        if not self.outbox:
            return None
        at = 0
        if self.faults.shuffle:
            chunk = self.random.choice(list(dict.fromkeys(chunk for chunk, _ in self.outbox)))
            at = next(n for n, (other, _) in enumerate(self.outbox) if other == chunk)
        return self.outbox.pop(at)[1]

    def find(self, chunk: int) -> list[FakePort]:
        """Its executions that have not ended."""
        found = [port for port in self.queue if port.id == chunk]
        return found + [w.running[chunk] for w in self.workers if chunk in w.running]

    def startable(self) -> tuple[FakeWorker, FakePort] | None:
        """The next chunk and a worker that has room for it."""
        for port in sorted(self.queue, key=lambda port: -port.priority):
            if any(amount > self.offers.get(name, 0.0) for name, amount in port.resources.items()):
                continue
            free = [w for w in self.workers if not w.paused and self._room(w)]
            if free:
                return self.random.choice(free), port
        return None

    def take(self, worker: FakeWorker, port: FakePort) -> None:
        """A queued chunk is with a worker now."""
        self.queue.remove(port)
        worker.running[port.id] = port

    def trouble(self, port: FakePort) -> None:
        """What goes wrong with a chunk that starts."""
        if self.happens(self.faults.lose_engine):
            self.lose_engine("a fault")
        if self.happens(self.faults.lose_worker):
            port.dies_at = self.random.randrange(0, 4)
        if len(self.workers) > 1 and self.happens(self.faults.flapping):
            awake = [w for w in self.workers if not w.paused]
            worker = self.random.choice(awake if len(awake) > 1 else self.workers)
            if worker.paused or len(awake) > 1:
                self.pause_worker(worker.name, not worker.paused)

    def _room(self, worker: FakeWorker) -> bool:
        return sum(not port.blocked for port in worker.running.values()) < self._slots

    def _join(self) -> FakeWorker:
        self._serial += 1
        worker = FakeWorker(f"fake-{self._serial}")
        self.workers.append(worker)
        self.say(-1, WorkerJoined(worker.name))
        self.say(-1, self.slots())
        self._launch()
        return worker
