"""The places of chunks on Ray: what the serve thread of a `RayRunner` decides, and what callers tell it.

    queued --send--> with an actor --"begun"--> running --final report-------------------> ended
       ^                  |                        |
       +---"back"---------+                        +-- its actor died, or could not run it --> lost

What Ray brings is `news`. Not locked: every method runs on the serve thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from anabranch.core.events import ChunkLost
from anabranch.core.reports import Report
from anabranch.runners.placing.policy import ChunkScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.chunks import BlockHandle
    from anabranch.core.events import Event
    from anabranch.runners.placing.jobs import Kind
    from anabranch.runners.ray.actor_handle import ActorHandle
    from anabranch.runners.ray.jobs import Outgoing, RayJob
    from anabranch.runners.ray.references import Values
    from anabranch.runners.ray.worker_pool import WorkerPool

    ActorJob = RayJob[ActorHandle]


class InFlight:
    """Takes actions in, leaves events in `out`."""

    def __init__(self, pool: WorkerPool, outgoing: Outgoing, values: Values) -> None:
        self.scheduler: ChunkScheduler[ActorJob, ActorHandle] = ChunkScheduler({"cpus": 0.0, "CPU": 0.0})
        self.values = values
        self.out: list[Event] = []
        self.ending = False
        self._pool = pool
        self._outgoing = outgoing
        self._cpus = 0.0  # what the queue of the pool counts with
        self._newest = 0  # order of what came while tasks wait

    def actions(self) -> dict[str, Callable[..., None]]:
        """What callers may ask for, by its name."""
        return {
            "submit": self._submit,
            "shorten": self._shorten,
            "cancel": self._cancel,
            "blocked": self._blocked,
            "release": self._release,
            "drop": self._drop,
            "call": self._call,
            "end": self._begin_to_end,
            "stop": self._stop,
        }

    @property
    def jobs(self) -> dict[int, ActorJob]:
        """Chunks that have not ended."""
        return self.scheduler.jobs

    # -- giving out --------------------------------------------------------------------------------

    def assign(self) -> None:
        """Give queued chunks to workers that have room; where there are none left, even out."""
        workers, size = self._pool.workers, self._pool.size
        for worker, job in self.scheduler.give_out(workers, size):
            self._send(worker, job)
        for worker in self.scheduler.crowded(workers, size):
            self._ask_back(worker)

    def staff(self) -> None:
        """See to the pool, the chunks of each other kind asking for actors of theirs."""
        demand: dict[Kind, int] = {}
        for job in self.jobs.values():
            if job.kind:
                demand[job.kind] = demand.get(job.kind, 0) + 1
        self._pool.staff(demand)
        total = max(self._pool.size, self._pool.nodes.offers()["cpus"])
        if total != self._cpus:
            self.scheduler.grow({"cpus": total - self._cpus, "CPU": total - self._cpus})
            self._cpus = total

    def _send(self, worker: ActorHandle, job: ActorJob) -> None:
        shared = self._outgoing.shared
        carried = {n: shared[n].payload for n in job.shared if n not in worker.sent and n in shared}
        worker.sent.update(carried)
        job.asked = False
        worker.calls += 1
        job.call = worker.calls
        job.ref = worker.run.remote(
            job.call, job.id, job.payload, carried, job.inputs, job.limit, job.cancelled,
            self.values.small,
        )  # fmt: skip

    def _ask_back(self, worker: ActorHandle) -> None:
        """All but the first: it says which of them it has not begun, and now will not."""
        for job in list(worker.jobs.values())[1:]:
            if not job.asked:
                job.asked = True
                worker.tell(("back", job.call, job.id))

    def came_back(self, job: ActorJob) -> None:
        """Its worker has not begun it and will not."""
        job.ref = None
        self.scheduler.came_back(job)
        if self.ending:
            self._give_back(job)

    def _give_back(self, job: ActorJob) -> None:
        """A queued chunk ends with nothing done."""
        self.end(job)
        self.out.append(Report(job.id, 0, 0, True))

    def end(self, job: ActorJob) -> None:
        worker = self.scheduler.end(job)
        if worker is not None:
            worker.idle_since = time.monotonic()
        job.ref = None
        job.inputs = []
        if self.scheduler.dropping:
            self._drop_unneeded()

    def lose(self, job: ActorJob, reason: str, text: str, suspects: tuple[int, ...] | None = None) -> None:
        left = job.size - job.reported
        if suspects is None and left == 1:
            suspects = (job.reported,)
        self.end(job)
        self.out.append(ChunkLost(job.id, reason, text, suspects, alone=left == 1 and bool(suspects)))

    def give_up(self) -> None:
        """The engine is lost: nothing more is told of anything."""
        self.jobs.clear()

    # -- what callers ask for ----------------------------------------------------------------------

    def _submit(self, made: Sequence[ActorJob | ChunkLost]) -> None:
        nested = any(worker.waiting for worker in self._pool.workers)
        self._newest -= len(made)  # what came last goes first then: fewer tasks wait at once
        kinds = False
        for n, job in enumerate(made):
            if isinstance(job, ChunkLost):
                self.out.append(job)
            elif any(handle not in self.values for handle in job.reads):
                text = "the values that it reads were released or lost"
                self.out.append(ChunkLost(job.id, "values-lost", text, ()))
            else:
                job.inputs = [(handle, self.values.find(handle)) for handle in job.reads]
                if nested:
                    job.order = self._newest + n
                self.scheduler.push(job)
                if self.ending:
                    self._give_back(job)
                kinds = kinds or bool(job.kind)
        if kinds:
            self.staff()

    def _shorten(self, chunk: int, keep: int) -> None:
        job = self.scheduler.shorten(chunk, keep)
        if job is None:
            return
        if job.worker is not None:
            job.worker.tell(("limit", chunk, keep))
        elif job.nothing_left:
            self._give_back(job)

    def _cancel(self, chunk: int, positions: tuple[int, ...] | None, force: bool) -> None:
        job = self.scheduler.cancel(chunk, positions)
        if job is None:
            return
        if job.worker is not None:
            job.worker.tell(("cancel", chunk, None if positions is None else set(positions), force))
        elif job.nothing_left:
            self._give_back(job)

    def _blocked(self, chunk: int, step: int) -> None:
        """One item more of it (or one less) waits for others: its worker gets nothing, another one works meanwhile."""
        worker = self.scheduler.blocked(chunk, step)
        if worker is None:
            return
        if worker.waiting:
            self._ask_back(worker)
        self.staff()

    def _release(self, handles: tuple[BlockHandle, ...]) -> None:
        self.values.release(handles)

    def _drop(self, shared_ids: tuple[int, ...]) -> None:
        self.scheduler.dropping.update(n for n in shared_ids if n in self._outgoing.shared)
        self._drop_unneeded()

    def _drop_unneeded(self) -> None:
        gone = self.scheduler.drop_unneeded()
        if not gone:
            return
        for shared_id in gone:
            del self._outgoing.shared[shared_id]
        for worker in self._pool.workers:
            theirs = gone & worker.sent
            if theirs:
                worker.sent -= theirs
                worker.tell(("drop", *theirs))

    def _call(self, call: Callable[[], None]) -> None:
        """Once all workers have heard what they were told."""
        left = list(self._pool.workers)
        if not left:
            call()

        def one(worker: ActorHandle) -> None:
            left.remove(worker)
            if not left:
                call()

        for worker in list(left):
            worker.told(lambda worker=worker: one(worker))  # type: ignore[misc]

    def _begin_to_end(self) -> None:
        """End what is queued, or not begun."""
        self.ending = True
        for job in [job for job in self.jobs.values() if job.worker is None]:
            self._give_back(job)
        for worker in self._pool.workers:
            self._ask_back(worker)

    def _stop(self) -> None:
        """The end: what is still in flight is lost."""
        for job in list(self.jobs.values()):
            self.end(job)
            self.out.append(ChunkLost(job.id, "stopped", "the runner was closed while it ran"))
