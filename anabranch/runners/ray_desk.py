"""Who has which chunk on Ray, and where blocks are: what the serve thread of a `RayRunner` knows and decides.

    queued --give--> with an actor --"begun"--> running --final report-------------------> ended
       ^                  |                        |
       +---"back"---------+                        +-- its actor died, or could not run it --> lost

Not locked: every method runs on the serve thread. `held` is looked at, never changed, by `fetch`.
"""

from __future__ import annotations

import pickle
import time
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core import contracts as c
from anabranch.core.contracts import Handle
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import RunnerError, VersionMismatch
from anabranch.runners import ray_worker as worker_half
from anabranch.runners.process_jobs import Queue, merge
from anabranch.runners.ray_jobs import Sent
from anabranch.runners.value_files import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import Event
    from anabranch.runners.ray_crew import Crew, Place
    from anabranch.runners.ray_jobs import Outgoing

OUT_OF_MEMORY = ("NODE_OUT_OF_MEMORY", "running low on memory")  # what Ray says of those that it ended for it


class Desk:
    """Takes actions in, leaves events in `out`."""

    def __init__(
        self, ray: Any, crew: Crew, outgoing: Outgoing, offers: dict[str, float], gone: set[Handle],
        put: Callable[[tuple[Any, ...]], None],
    ) -> None:  # fmt: skip
        self.jobs: dict[int, Sent] = {}
        self.held: dict[Handle, tuple[Any, Place]] = {}  # references of blocks, and whom they end with
        self.out: list[Event] = []
        self.failure: Exception | None = None  # no worker can be had
        self.ending = False
        self._ray = ray
        self._crew = crew
        self._outgoing = outgoing
        self._queue = Queue(offers)
        self._gone = gone
        self._put = put
        self._dropping: set[int] = set()

    # -- who does what -----------------------------------------------------------------------------

    def assign(self) -> None:
        """Give queued chunks to places that have room; where there are none left, even out."""
        places = self._crew.places
        self._give_out(places)
        idle = sum(p.ready and not p.jobs for p in places)
        busy = sum(bool(p.jobs) and not p.waiting for p in places)
        for place in places:
            if idle and busy < self._crew.size and len(place.jobs) > 1:
                idle -= 1
                busy += 1
                self._ask_back(place)

    def _give_out(self, places: list[Place]) -> None:
        while self._queue:
            place = self._roomy(places)
            job = self._queue.pop(idle=not place.jobs) if place is not None else None
            if place is None or job is None:
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

    def _give(self, place: Place, job: Sent) -> None:
        shared = self._outgoing.shared
        carried = {n: shared[n].payload for n in job.shared if n not in place.sent and n in shared}
        job.carried = frozenset(carried)
        place.sent |= job.carried
        place.jobs[job.id] = job
        job.place = place
        job.asked = False
        place.calls += 1
        job.call = place.calls
        job.ref = place.run.remote(job.call, job.id, job.payload, carried, job.inputs, job.limit, job.cancelled)

    def _ask_back(self, place: Place) -> None:
        """All but the first: it says which of them it has not begun, and now will not."""
        for job in list(place.jobs.values())[1:]:
            if not job.asked:
                job.asked = True
                place.tell(("back", job.call, job.id))

    def _came_back(self, place: Place, job: Sent) -> None:
        del place.jobs[job.id]
        place.sent -= job.carried
        job.place = job.ref = None
        self._queue.count(job, 1)
        if self.ending:
            self._end(job)
            self.out.append(c.Report(job.id, 0, 0, True))
        else:
            self._queue.push(job)

    def _end(self, job: Sent) -> None:
        del self.jobs[job.id]
        place = job.place
        if place is not None:
            place.jobs.pop(job.id, None)
            if not job.waiting:
                self._queue.count(job, 1)
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
        for job in made:
            if isinstance(job, c.ChunkLost):
                self.out.append(job)
                continue
            missing = tuple(handle for handle in job.reads if handle not in self.held)
            self.jobs[job.id] = job
            if missing:
                self._lose(job, "values-lost", "the values that it reads were released or lost", ())
                continue
            job.inputs = [(handle, self.held[handle][0]) for handle in job.reads]
            if self.ending:
                self._end(job)
                self.out.append(c.Report(job.id, 0, 0, True))
            else:
                self._queue.push(job)

    def on_shorten(self, chunk: int, keep: int) -> None:
        job = self.jobs.get(chunk)
        if job is None or (job.limit is not None and job.limit <= keep):
            return
        job.limit = keep
        if job.place is not None:
            job.place.tell(("limit", chunk, keep))
        elif keep <= 0:
            self._give_up(job)

    def on_cancel(self, chunk: int, positions: tuple[int, ...] | None) -> None:
        job = self.jobs.get(chunk)
        if job is None:
            return
        job.cancelled = merge(job.cancelled, positions)
        if job.place is not None:
            job.place.tell(("cancel", chunk, None if positions is None else set(positions)))
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
        self._queue.count(job, -1 if before else 1)
        if job.place.waiting:
            self._ask_back(job.place)
        self._crew.staff()

    def on_release(self, handles: tuple[Handle, ...]) -> None:
        for handle in handles:
            self._gone.discard(handle)
            found = self.held.pop(handle, None)
            if found is not None:
                found[1].held.discard(handle)

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

    # -- actions: from Ray -------------------------------------------------------------------------

    def on_joined(self, place: Place, future: Any) -> None:
        if place not in self._crew.places:
            return
        error = future.exception()
        if error is not None:
            self._died(place, error)
            return
        try:
            worker_half.compare(worker_half.versions(), future.result(), place.name)
        except VersionMismatch as mismatch:
            self.failure = mismatch
            return
        place.ready = True
        place.idle_since = time.monotonic()
        place.listen(self._put)
        self.out.append(c.WorkerJoined(place.name))
        if not place.extra:
            self._tell_slots()

    def _tell_slots(self) -> None:
        self.out.append(c.SlotsChanged(self._crew.ready, self._crew.size))

    def on_heard(self, place: Place, future: Any) -> None:
        if place not in self._crew.places:
            return
        error = future.exception()
        if error is not None:
            self._died(place, error)
            return
        data, refs = future.result()
        place.listen(self._put)
        refs.reverse()
        for kind, *fields in pickle.loads(data):
            getattr(self, f"_hear_{kind}")(place, refs, *fields)

    def _hear_begun(self, place: Place, refs: list[Any], chunk: int) -> None:
        job = place.jobs.get(chunk)
        if job is not None:
            job.told = True
            self.out.append(c.ChunkStarted(chunk, place.name))

    def _hear_back(self, place: Place, refs: list[Any], number: int, chunk: int) -> None:
        job = place.jobs.get(chunk)
        if job is not None and job.call == number:
            self._came_back(place, job)

    def _hear_report(self, place: Place, refs: list[Any], report: c.Report) -> None:
        job = place.jobs.get(report.chunk)
        for stage, block in enumerate(report.blocks):
            if isinstance(block, c.Held):
                handle, ref = Handle(report.chunk, stage, report.first), refs.pop()
                if job is not None:
                    self.held[handle] = ref, place
                    place.held.add(handle)
        if job is None:
            return
        job.reported = report.first + report.count
        if report.final:
            self._end(job)
        self.out.append(report)

    def _hear_lost(self, place: Place, refs: list[Any], chunk: int, reason: str, text: str) -> None:
        job = place.jobs.get(chunk)
        if job is not None:
            self._lose(job, reason, text)

    def _hear_missing(self, place: Place, refs: list[Any], chunk: int, handles: list[Handle], text: str) -> None:
        self._values_lost(handles)
        job = place.jobs.get(chunk)
        if job is not None:
            self._lose(job, "values-lost", text, ())

    def _hear_log(self, place: Place, refs: list[Any], lines: list[c.LogLine], dropped: int) -> None:
        self.out.append(c.Logs(lines, dropped))

    def _hear_request(
        self, place: Place, refs: list[Any], number: int, chunk: int, position: int, kind: str, data: bytes
    ) -> None:
        def reply(good: bool, payload: Any) -> None:
            try:
                answer = cloudpickle.dumps(payload, 5)
            except Exception as error:
                good, answer = False, cloudpickle.dumps(unpicklable(payload, error, refused, "answer"), 5)
            self._put(("answer", place, number, good, answer))

        try:
            payload = pickle.loads(data)
        except Exception as error:  # whatever the payload's own code raises
            reply(False, RunnerError(f"the request {kind!r} does not unpickle in the driver: {error!r}"))
            return
        self.out.append(c.WorkerRequest(chunk, position, kind, payload, reply))

    def on_answer(self, place: Place, number: int, good: bool, data: bytes) -> None:
        if place in self._crew.places:
            place.tell(("reply", number, good, data))

    # -- what goes wrong ---------------------------------------------------------------------------

    def _died(self, place: Place, error: BaseException) -> None:
        """Its first chunk ran, or one that it said it had begun; the others come back as they were."""
        text = _how(place, error)
        reason = "out-of-memory" if any(mark in str(error) for mark in OUT_OF_MEMORY) else "worker-lost"
        lasting = self._crew.died(place)
        for n, job in enumerate(list(place.jobs.values())):
            if n and not (job.told or job.reported):
                self._came_back(place, job)
            else:
                self._lose(job, reason, text)
        self._values_lost(list(place.held))
        self.out.append(c.WorkerLost(place.name, text))
        if place.ready and not place.extra:
            self._tell_slots()
        if not lasting:
            self.failure = RunnerError(f"workers cannot start on Ray: {text}")
        elif not self.ending:
            self._crew.staff()

    def _values_lost(self, handles: list[Handle]) -> None:
        lost = [handle for handle in handles if handle in self.held and handle not in self._gone]
        self.on_release(tuple(handle for handle in handles if handle in self.held))
        if lost:
            self.out.append(c.ValuesLost(tuple(lost)))

    def look(self) -> None:
        """Find calls that ended before the actor's code was reached; see to the crew's size."""
        if not self.ending:
            self._crew.staff()
        calls = {job.ref: job for job in self.jobs.values() if job.ref is not None and not job.told}
        if not calls:
            return
        over, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0, fetch_local=False)
        for ref in over:
            try:
                self._ray.get(ref, timeout=1)
            except self._ray.exceptions.GetTimeoutError:
                continue
            except self._ray.exceptions.ActorDiedError:  # which is heard of by itself
                continue
            except Exception as error:
                job = calls[ref]
                if job.place is not None:
                    self._lose(job, "worker-lost", f"Ray could not call its worker: {type(error).__name__}: {error}")


def _how(place: Place, error: BaseException) -> str:
    """How it ended, in a line."""
    lines = [line.strip() for line in str(error).splitlines()]
    why = next((line for line in lines if "is dead because" in line), lines[0] if lines else "")
    return f"the Ray worker {place.name} ended: {why.partition('. Some common causes')[0] or type(error).__name__}"
