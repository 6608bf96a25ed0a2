"""What a test can make happen to the fake remote runner, by name and at a moment of its choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.contracts import ChunkLost, EngineLost, SlotsChanged, ValuesLost, WorkerJoined, WorkerLost
from anabranch.testing.fake_worker import FakeWorker

if TYPE_CHECKING:
    import random
    import threading

    from anabranch.core.contracts import Event, Handle
    from anabranch.testing.fake_worker import FakeBlocks, FakePort, Faults


class FakeScript:
    """The script of a `FakeRemoteRunner`: faults at a moment that the test chooses."""

    workers: list[FakeWorker]
    faults: Faults
    _news: threading.Condition
    _blocks: FakeBlocks
    _queue: list[FakePort]
    _outbox: list[tuple[int, Event]]
    _lost_engine: bool
    _count: int
    _slots: int
    _offers: dict[str, float]
    _serial: int
    _injected: int
    _random: random.Random

    def lose_worker(self, name: str | None = None, *, replace: bool = True, reason: str = "killed") -> str:
        """A worker dies now, with its blocks and its chunks; the first one unless named."""
        with self._news:
            alive = [w for w in self.workers if w.alive and name in (None, w.name)]
            if not alive:
                raise ValueError(f"no worker {name!r} is alive")
            worker = alive[0]
            worker.alive = False
            self.workers.remove(worker)
            for port in worker.running.values():
                port.lost = True
                port.speaks = self._happens(self.faults.late)
                if not port.ended:
                    suspects = (port.position,) if port.position >= 0 else None
                    lost = ChunkLost(port.id, "worker-lost", f"{worker.name}: {reason}", suspects, bool(suspects))
                    self._say(port.id, lost)
            self._say(-1, WorkerLost(worker.name, reason))
            if worker.blocks:
                self._say(-1, ValuesLost(tuple(worker.blocks)))
                worker.blocks = {}
            if replace:
                self._join()
            else:
                self._say(-1, SlotsChanged(self._now(), self._count * self._slots))
            return worker.name

    def join_worker(self) -> str:
        with self._news:
            return self._join().name

    def lose_values(self, *handles: Handle) -> None:
        """These blocks are gone, though their workers live."""
        with self._news:
            self._blocks.lose(handles)
            self._say(-1, ValuesLost(handles))

    def lose_engine(self, reason: str = "the scheduler is gone") -> None:
        """One `EngineLost`, then nothing."""
        with self._news:
            self._lost_engine = True
            for worker in self.workers:
                for port in worker.running.values():
                    port.lost, port.speaks = True, False
            self.workers.clear()
            self._queue.clear()
            self._outbox[:] = [(-1, EngineLost(reason))]
            self._news.notify_all()

    def pause_worker(self, name: str, paused: bool = True) -> None:
        """A worker takes no more chunks for a while: slots come and go."""
        with self._news:
            for worker in self.workers:
                if worker.name == name:
                    worker.paused = paused
            self._say(-1, SlotsChanged(self._now(), self._count * self._slots))
            self._launch()

    def offer(self, **resources: float) -> None:
        """Every worker has these from now on: an elastic cluster has grown."""
        with self._news:
            self._offers.update(resources)
            self._say(-1, SlotsChanged(self._now(), self._count * self._slots, dict(self._offers)))
            self._launch()

    def repeat(self, event: Event) -> None:
        """Deliver an event once more."""
        with self._news:
            self._say(getattr(event, "chunk", -1), event)

    # -- inside ----------------------------------------------------------------------------------

    def _launch(self) -> None:
        raise NotImplementedError

    def _happens(self, chance: float) -> bool:
        if not chance or self._injected >= self.faults.most or self._random.random() >= chance:
            return False
        self._injected += 1
        return True

    def _say(self, chunk: int, event: Event) -> None:
        if not self._lost_engine:
            self._outbox.append((chunk, event))
            self._news.notify_all()

    def _now(self) -> int:
        return sum(self._slots for worker in self.workers if not worker.paused)

    def _join(self) -> FakeWorker:
        self._serial += 1
        worker = FakeWorker(f"fake-{self._serial}")
        self.workers.append(worker)
        self._say(-1, WorkerJoined(worker.name))
        self._say(-1, SlotsChanged(self._now(), self._count * self._slots))
        self._launch()
        return worker
