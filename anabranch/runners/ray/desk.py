"""Who has which chunk on Ray: what the serve thread of a `RayRunner` knows and decides, and what callers tell it.

    queued --give--> with an actor --"begun"--> running --final report-------------------> ended
       ^                  |                        |
       +---"back"---------+                        +-- its actor died, or could not run it --> lost

What Ray brings is `ray_news`. Not locked: every method runs on the serve thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anabranch.core import contracts as c
from anabranch.runners.placing.jobs import Queue, merge
from anabranch.runners.ray.jobs import Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import Event, Handle
    from anabranch.runners.ray.crew import Crew, Place
    from anabranch.runners.ray.jobs import Outgoing
    from anabranch.runners.ray.nodes import Kind
    from anabranch.runners.ray.references import Values


class Desk:
    """Takes actions in, leaves events in `out`."""

    def __init__(
        self, ray: Any, crew: Crew, outgoing: Outgoing, values: Values, put: Callable[[tuple[Any, ...]], None]
    ) -> None:
        self.jobs: dict[int, Sent] = {}
        self.values = values
        self.out: list[Event] = []
        self.failure: Exception | None = None  # no worker can be had
        self.ending = False
        self._ray = ray
        self._crew = crew
        self._outgoing = outgoing
        self._cpus = 0.0  # what the queue of the crew counts with
        self._queues: dict[Kind, Queue] = {(): Queue({"cpus": 0.0, "CPU": 0.0})}
        self._dying: list[Place] = []  # dead, and not yet known of what
        self._newest = 0  # order of what came while tasks wait
        self._put = put
        self._dropping: set[int] = set()

    # -- who does what -----------------------------------------------------------------------------

    def assign(self) -> None:
        """Give queued chunks to places that have room; where there are none left, even out."""
        places = [place for place in self._crew.places if not place.kind]
        for kind, queue in self._queues.items():
            if kind:
                self._give_kind(kind, queue)
            else:
                self._give_out(places, queue)
        idle = sum(p.ready and not p.jobs for p in places)
        busy = sum(bool(p.jobs) and not p.waiting for p in places)
        for place in places:
            if idle and busy < self._crew.size and len(place.jobs) > 1:
                idle -= 1
                busy += 1
                self._ask_back(place)

    def _give_out(self, places: list[Place], queue: Queue) -> None:
        while queue:
            place = self._roomy(places)
            job = queue.pop(idle=not place.jobs) if place is not None else None
            if place is None or job is None:
                return
            assert isinstance(job, Sent)
            self._give(place, job)

    def _give_kind(self, kind: Kind, queue: Queue) -> None:
        """One at a time, each to a place that has what it needs."""
        for place in self._crew.places:
            if place.kind == kind and place.ready and not place.jobs:
                job = queue.pop(idle=True)
                if job is None:
                    return
                assert isinstance(job, Sent)
                self._give(place, job)

    def _roomy(self, places: list[Place]) -> Place | None:
        idle = half = None
        running = 0
        for place in places:
            if place.waiting:
                continue
            running += bool(place.jobs)
            if place.ready and not place.jobs:
                idle = idle or place
            elif place.ready and len(place.jobs) == 1:
                half = half or place
        return idle if idle is not None and running < self._crew.size else half

    def staff(self) -> None:
        """See to the crew, the chunks of each other kind asking for actors of theirs."""
        demand: dict[Kind, int] = {}
        for job in self.jobs.values():
            if job.kind:
                demand[job.kind] = demand.get(job.kind, 0) + 1
        self._crew.staff(demand)
        total = max(self._crew.size, self._crew.nodes.offers()["cpus"])
        if total != self._cpus:
            self._queues[()].grow({"cpus": total - self._cpus, "CPU": total - self._cpus})
            self._cpus = total

    def _queue(self, job: Sent) -> Queue:
        if job.kind not in self._queues:
            self._queues[job.kind] = Queue({})
        return self._queues[job.kind]

    def _give(self, place: Place, job: Sent) -> None:
        shared = self._outgoing.shared
        carried = {n: shared[n].payload for n in job.shared if n not in place.sent and n in shared}
        place.sent.update(carried)
        place.jobs[job.id] = job
        job.place = place
        job.asked = False
        place.calls += 1
        job.call = place.calls
        job.ref = place.run.remote(
            job.call, job.id, job.payload, carried, job.inputs, job.limit, job.cancelled,
            self.values.small,
        )  # fmt: skip

    def _ask_back(self, place: Place) -> None:
        """All but the first: it says which of them it has not begun, and now will not."""
        for job in list(place.jobs.values())[1:]:
            if not job.asked:
                job.asked = True
                place.tell(("back", job.call, job.id))

    def _came_back(self, place: Place, job: Sent) -> None:
        del place.jobs[job.id]
        job.place = job.ref = None
        self._queue(job).count(job, 1)
        if self.ending:
            self._end(job)
            self.out.append(c.Report(job.id, 0, 0, True))
        else:
            self._queue(job).push(job)

    def _end(self, job: Sent) -> None:
        del self.jobs[job.id]
        place = job.place
        if place is not None:
            place.jobs.pop(job.id, None)
            if not job.waiting:
                self._queue(job).count(job, 1)
            place.waiting = place.waiting and not job.waiting
            place.idle_since = time.monotonic()
        job.queued = False
        job.ref = None
        job.inputs = []
        if self._dropping:
            self._drop_unneeded()

    def _lose(self, job: Sent, reason: str, text: str, suspects: tuple[int, ...] | None = None) -> None:
        left = job.size - job.reported
        if suspects is None and left == 1:
            suspects = (job.reported,)
        self._end(job)
        self.out.append(c.ChunkLost(job.id, reason, text, suspects, alone=left == 1 and bool(suspects)))

    # -- actions: from callers ---------------------------------------------------------------------

    def on_submit(self, made: Sequence[Sent | c.ChunkLost]) -> None:
        nested = any(place.waiting for place in self._crew.places)
        self._newest -= len(made)  # what came last goes first then: fewer tasks wait at once
        for n, job in enumerate(made):
            if isinstance(job, c.ChunkLost):
                self.out.append(job)
                continue
            missing = tuple(handle for handle in job.reads if handle not in self.values)
            self.jobs[job.id] = job
            if missing:
                self._lose(job, "values-lost", "the values that it reads were released or lost", ())
                continue
            job.inputs = [(handle, self.values.find(handle)) for handle in job.reads]
            if self.ending:
                self._end(job)
                self.out.append(c.Report(job.id, 0, 0, True))
            else:
                if nested:
                    job.order = self._newest + n
                self._queue(job).push(job)
        if any(isinstance(job, Sent) and job.kind for job in made):
            self.staff()

    def on_shorten(self, chunk: int, keep: int) -> None:
        job = self.jobs.get(chunk)
        if job is None or (job.limit is not None and job.limit <= keep):
            return
        job.limit = keep
        if job.place is not None:
            job.place.tell(("limit", chunk, keep))
        elif keep <= 0:
            self._give_up(job)

    def on_cancel(self, chunk: int, positions: tuple[int, ...] | None, force: bool) -> None:
        job = self.jobs.get(chunk)
        if job is None:
            return
        job.cancelled = merge(job.cancelled, positions)
        if job.place is not None:
            job.place.tell(("cancel", chunk, None if positions is None else set(positions), force))
        elif job.cancelled is None or job.cancelled.issuperset(range(job.size)):
            self._give_up(job)

    def _give_up(self, job: Sent) -> None:
        """A queued chunk ends with nothing done."""
        self._end(job)
        self.out.append(c.Report(job.id, 0, 0, True))

    def on_blocked(self, chunk: int, step: int) -> None:
        """One item more of it (or one less) waits for others: its place gets nothing, another one works meanwhile."""
        job = self.jobs.get(chunk)
        if job is None or job.place is None:
            return
        before = job.waiting > 0
        job.waiting = max(0, job.waiting + step)
        if (job.waiting > 0) == before:
            return
        job.place.waiting = not before
        self._queue(job).count(job, -1 if before else 1)
        if job.place.waiting:
            self._ask_back(job.place)
        self.staff()

    def on_release(self, handles: tuple[Handle, ...]) -> None:
        self.values.release(handles)

    def on_drop(self, shared_ids: tuple[int, ...]) -> None:
        self._dropping.update(n for n in shared_ids if n in self._outgoing.shared)
        self._drop_unneeded()

    def _drop_unneeded(self) -> None:
        gone = self._dropping.difference(*(job.shared for job in self.jobs.values()))
        if not gone:
            return
        self._dropping -= gone
        for shared_id in gone:
            del self._outgoing.shared[shared_id]
        for place in self._crew.places:
            theirs = gone & place.sent
            if theirs:
                place.sent -= theirs
                place.tell(("drop", *theirs))

    def on_call(self, call: Callable[[], None]) -> None:
        """Once all places have heard what they were told."""
        left = list(self._crew.places)
        if not left:
            call()

        def one(place: Place) -> None:
            left.remove(place)
            if not left:
                call()

        for place in list(left):
            place.told(lambda place=place: one(place))  # type: ignore[misc]

    def on_end(self) -> None:
        """End what is queued, or not begun."""
        self.ending = True
        for job in [job for job in self.jobs.values() if job.place is None]:
            self._give_up(job)
        for place in self._crew.places:
            self._ask_back(place)

    def on_stop(self) -> None:
        """The end: what is still in flight is lost."""
        for job in list(self.jobs.values()):
            self._end(job)
            self.out.append(c.ChunkLost(job.id, "stopped", "the runner was closed while it ran"))

    def give_up(self) -> None:
        """The engine is lost: nothing more is told of anything."""
        self.jobs.clear()
