"""What Ray brings to the desk of a `RayRunner`: workers that are up, their news, their deaths, nodes that go.

an actor is dead --> its page is read on its node --> "verdict": the item that ran is to blame,
                                                       the chunks that it had not begun come back
"""

from __future__ import annotations

import pickle
import re
import time
from typing import TYPE_CHECKING, Any

from anabranch.core import contracts as c
from anabranch.core.contracts import Handle
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import RunnerError, VersionMismatch
from anabranch.runners.ray import worker as worker_half
from anabranch.runners.ray.desk import Desk
from anabranch.runners.ray.nodes import patience
from anabranch.runners.transport.value_files import by_value, refused

if TYPE_CHECKING:
    from anabranch.runners.placing.page import Running
    from anabranch.runners.ray.crew import Place
    from anabranch.runners.ray.jobs import Sent

TICK = 0.5  # seconds between looks at the crew
VERDICT_SECONDS = 30.0  # for a page to be read on another node
REFUSALS = 20  # batches of news, one after another, that Ray could not store
LOW_ON_MEMORY = "running low on memory"  # what Ray says of workers that it ended for it


class News(Desk):
    """Adds what comes from Ray."""

    headless = False  # whether the engine is lost because Ray's head is silent
    _told: tuple[Any, ...] = ()  # of slots

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._patience = patience()

    def on_joined(self, place: Place, future: Any) -> None:
        if place not in self._crew.places:
            return
        error = future.exception()
        if error is not None:
            self._died(place, error)
            return
        versions, place.node, place.page = future.result()
        try:
            worker_half.compare(worker_half.versions(), versions, place.name)
        except VersionMismatch as mismatch:
            self.failure = mismatch
            return
        place.ready = True
        place.idle_since = time.monotonic()
        place.listen(self._put)
        self.out.append(c.WorkerJoined(place.name))
        self._tell_slots()

    def _tell_slots(self) -> None:
        offers = self._crew.nodes.offers()
        now = self._crew.ready, self._crew.size, offers
        if now != self._told:
            self._told = now
            self.out.append(c.SlotsChanged(*now))

    def on_heard(self, place: Place, future: Any, block: Any) -> None:
        if place not in self._crew.places:
            return
        error = future.exception()
        if error is not None:
            self._unheard(place, error)
            return
        place.heard, messages, brought = pickle.loads(future.result())
        place.refusals = 0
        if brought:
            place.arrived.append(block)
        place.listen(self._put)
        for kind, *fields in messages:
            getattr(self, f"_hear_{kind}")(place, *fields)

    def _unheard(self, place: Place, error: BaseException) -> None:
        """News did not come: the worker is dead, cannot be reached just now, or found no room for a block."""
        known = self._ray.exceptions
        if isinstance(error, known.ActorUnavailableError):
            place.listen(self._put)
        elif isinstance(error, (known.RayTaskError, known.ObjectStoreFullError, known.OutOfDiskError)):
            place.refusals += 1
            if place.refusals > REFUSALS:
                self._died(place, error)
            else:
                place.listen(self._put, _first_line(error))
        else:
            self._died(place, error)

    def _hear_begun(self, place: Place, chunk: int) -> None:
        job = place.jobs.get(chunk)
        if job is not None:
            job.told = True
            self.out.append(c.ChunkStarted(chunk, place.name))

    def _hear_back(self, place: Place, number: int, chunk: int) -> None:
        job = place.jobs.get(chunk)
        if job is not None and job.call == number:
            self._came_back(place, job)

    def _hear_report(self, place: Place, report: c.Report) -> None:
        job = place.jobs.get(report.chunk)
        for stage, block in enumerate(report.blocks):
            if isinstance(block, c.Held):
                ref = place.arrived.pop(0)
                if job is not None:
                    self.values.keep(Handle(report.chunk, stage, report.first), ref, place.node, block.nbytes)
        if job is None:
            return
        job.reported = report.first + report.count
        if report.final:
            self._end(job)
        self.out.append(report)

    def _hear_lost(self, place: Place, chunk: int, reason: str, text: str) -> None:
        job = place.jobs.get(chunk)
        if job is not None:
            self._lose(job, reason, text)

    def _hear_stopped(self, place: Place, lost: c.ChunkLost, item: c.ItemTimedOut | c.ItemCancelled | None) -> None:
        job = place.jobs.get(lost.chunk)
        if job is None:
            return
        if item is not None:
            self.out.append(item)
        self._end(job)
        self.out.append(lost)

    def _hear_missing(self, place: Place, chunk: int, handles: list[Handle], text: str) -> None:
        self.out += self.values.lose(handles)
        job = place.jobs.get(chunk)
        if job is not None:
            self._lose(job, "values-lost", text, ())

    def _hear_log(self, place: Place, lines: list[c.LogLine], dropped: int) -> None:
        self.out.append(c.Logs(lines, dropped))

    def _hear_request(self, place: Place, number: int, chunk: int, position: int, kind: str, data: bytes) -> None:
        def reply(good: bool, payload: Any) -> None:
            try:
                answer = by_value(payload)
            except Exception as error:
                good, answer = False, by_value(unpicklable(payload, error, refused, "answer"))
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
        """Take it out; what ran on it is known once its page was read."""
        oom = isinstance(error, self._ray.exceptions.OutOfMemoryError) or LOW_ON_MEMORY in str(error)
        place.end = "out-of-memory" if oom else "worker-lost", _how(place, error, oom)
        place.died_at = time.monotonic()
        lasting = self._crew.died(place) or place.node not in self._crew.nodes
        self._dying.append(place)
        self._crew.last_item(place)
        self.out.append(c.WorkerLost(place.name, place.end[1]))
        self._tell_slots()
        if not lasting:
            self.failure = RunnerError(f"workers cannot start on Ray: {place.end[1]}")
        elif not self.ending:
            self.staff()

    def on_lost(self, handle: Handle) -> None:
        """Somebody in the driver wanted to read a block, and Ray has it no more."""
        self.out += self.values.lose([handle])

    def on_verdict(self, place: Place, running: Running | None) -> None:
        """The chunk that its page names was lost, by the item that stands there; those it had not begun come back."""
        if place not in self._dying:
            return
        self._dying.remove(place)
        for n, job in enumerate(list(place.jobs.values())):
            here = running if running is not None and running.chunk == job.id else None
            begun = job.told or job.reported
            if here is None and not begun and (n or running is not None):
                self._came_back(place, job)
            else:
                self._lose_begun(place, job, here, innocent=here is None and running is not None)

    def _lose_begun(self, place: Place, job: Sent, running: Running | None, *, innocent: bool) -> None:
        """`innocent`: its end was not heard of, and another chunk ran when the worker died."""
        reason, text = place.end
        if innocent:
            self._lose(job, reason, text, ())
        elif running is None or running.position < job.reported:
            self._lose(job, reason, text)
        else:
            self._end(job)
            suspects = (running.position,)
            self.out.append(c.ChunkLost(job.id, reason, text, suspects, alone=True, stage=running.stage))

    def look(self) -> None:
        """Ask for the nodes, see to the crew's size; find calls that ended before the actor's code was reached."""
        self._crew.nodes.ask()
        if self._beheaded():
            self.headless = True
            self.failure = RunnerError(
                f"Ray's head has not answered for {self._patience:g} s: it was killed or cut off"
            )
            return
        now = time.monotonic()
        for place in list(self._dying):
            if now - place.died_at > VERDICT_SECONDS:
                self.on_verdict(place, None)
        if not self.ending:
            self.staff()
        self._tell_slots()
        self._look_at_calls()

    def _beheaded(self) -> bool:
        """Whether the head is silent for too long; questions count too: a driver that was stopped has not asked."""
        nodes = self._crew.nodes
        return nodes.silent > self._patience / TICK / 2 and time.monotonic() - nodes.heard > self._patience

    def on_nodes(self, found: list[dict[str, Any]] | None) -> None:
        """The head has answered (None: it could not be asked); what lay on nodes that are gone is lost."""
        gone = self._crew.nodes.take(found)
        if not gone:
            return
        self.out += self.values.lose_nodes(gone, self._elsewhere)
        for place in list(self._dying):
            if place.node in gone:
                self.on_verdict(place, None)

    def _elsewhere(self, refs: list[Any]) -> list[str]:
        """For each block a node that still has it; "" where there is none."""
        try:
            found = self._ray.experimental.get_object_locations(refs)
        except Exception:  # an experimental part of Ray: without it, what may be copied is made again
            return [""] * len(refs)
        nodes = self._crew.nodes
        return [next((n for n in found.get(ref, {}).get("node_ids", ()) if n in nodes), "") for ref in refs]

    def _look_at_calls(self) -> None:
        calls = {job.ref: job for job in self.jobs.values() if job.ref is not None and not job.told}
        if not calls:
            return
        over, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0, fetch_local=False)
        for ref in over:
            try:
                self._ray.get(ref, timeout=1)
            except (self._ray.exceptions.GetTimeoutError, self._ray.exceptions.OutOfMemoryError):
                continue
            except self._ray.exceptions.ActorDiedError:  # which is heard of by itself
                continue
            except Exception as error:
                job = calls[ref]
                if job.place is not None:
                    self._lose(job, "worker-lost", f"Ray could not call its worker: {type(error).__name__}: {error}")


def _how(place: Place, error: BaseException, oom: bool) -> str:
    """How it ended, in a line."""
    if oom:
        used = re.search(r"was (\S+ used / \S+ limit)", str(error))
        of = f" ({used[1]})" if used else ""
        return f"Ray ended its worker {place.name}{_peak(place, error)} because the node was {LOW_ON_MEMORY}{of}"
    lines = [line.strip() for line in str(error).splitlines()]
    why = next((line for line in lines if "is dead because" in line), lines[0] if lines else "")
    return f"the Ray worker {place.name} ended: {why.partition('. Some common causes')[0] or type(error).__name__}"


def _peak(place: Place, error: BaseException) -> str:
    """What this worker used, among those that Ray says it has ended."""
    found = re.search(rf"Actor\({place.actor._actor_id.hex()}\): [^\n]*? memory used=([\d.]+)GB", str(error))
    return f" at {found[1]} GB" if found else ""


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
