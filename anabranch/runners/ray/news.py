"""What Ray brings to a `RayRunner`: workers that are up, their news, their deaths, nodes that go.

an actor is dead --> its page is read on its node --> "verdict": the item that ran is to blame,
                                                       the chunks that it had not begun come back
"""

from __future__ import annotations

import pickle
import re
import time
from typing import TYPE_CHECKING, Any, ClassVar

from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import RunnerError, VersionMismatch
from anabranch.core.events import (
    ChunkLost,
    ChunkStarted,
    ItemCancelled,
    ItemTimedOut,
    Logs,
    SlotsChanged,
    WorkerJoined,
    WorkerLost,
    WorkerRequest,
)
from anabranch.core.reports import Held, Report
from anabranch.runners.placing.serve_thread import TICK
from anabranch.runners.ray import worker as worker_half
from anabranch.runners.ray.nodes import patience
from anabranch.runners.transport.requests import answering, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.log_lines import LogLine
    from anabranch.runners.placing.status_page import Running
    from anabranch.runners.ray.actor_handle import ActorHandle
    from anabranch.runners.ray.in_flight import ActorJob, InFlight
    from anabranch.runners.ray.worker_pool import WorkerPool

VERDICT_SECONDS = 30.0  # for a page to be read on another node
REFUSALS = 20  # batches of news, one after another, that Ray could not store
LOW_ON_MEMORY = "running low on memory"  # what Ray says of workers that it ended for it


class ActorNews:
    """Takes in what comes from Ray; `InFlight` decides what follows for the chunks. On the serve thread."""

    def __init__(self, ray: Any, in_flight: InFlight, pool: WorkerPool, put: Callable[[tuple[Any, ...]], None]) -> None:
        self.failure: Exception | None = None  # no worker can be had
        self.headless = False  # whether the engine is lost because Ray's head is silent
        self._ray = ray
        self._in_flight = in_flight
        self._pool = pool
        self._put = put
        self._dying: list[ActorHandle] = []  # dead, and not yet known of what
        self._slots: tuple[Any, ...] = ()  # that were told last
        self._patience = patience()

    def actions(self) -> dict[str, Callable[..., None]]:
        """What Ray's callbacks bring, by its name."""
        return {
            "joined": self._joined,
            "heard": self._heard,
            "answer": self._answer,
            "lost": self._block_lost,
            "verdict": self._verdict,
            "nodes": self._nodes,
        }

    def _joined(self, worker: ActorHandle, future: Any) -> None:
        if worker not in self._pool.workers:
            return
        error = future.exception()
        if error is not None:
            self._died(worker, error)
            return
        versions, worker.node, worker.page = future.result()
        try:
            worker_half.compare(worker_half.versions(), versions, worker.name)
        except VersionMismatch as mismatch:
            self.failure = mismatch
            return
        worker.ready = True
        worker.idle_since = time.monotonic()
        worker.listen(self._put)
        self._in_flight.out.append(WorkerJoined(worker.name))
        self._tell_slots()

    def _tell_slots(self) -> None:
        offers = self._pool.nodes.offers()
        now = self._pool.ready, self._pool.size, offers
        if now != self._slots:
            self._slots = now
            self._in_flight.out.append(SlotsChanged(*now))

    def _heard(self, worker: ActorHandle, future: Any, block: Any) -> None:
        if worker not in self._pool.workers:
            return
        error = future.exception()
        if error is not None:
            self._unheard(worker, error)
            return
        worker.heard, messages, brought = pickle.loads(future.result())
        worker.refusals = 0
        if brought:
            worker.arrived.append(block)
        worker.listen(self._put)
        for kind, *fields in messages:
            self.HEARS[kind](self, worker, *fields)

    def _unheard(self, worker: ActorHandle, error: BaseException) -> None:
        """News did not come: the worker is dead, cannot be reached just now, or found no room for a block."""
        known = self._ray.exceptions
        if isinstance(error, known.ActorUnavailableError):
            worker.listen(self._put)
        elif isinstance(error, (known.RayTaskError, known.ObjectStoreFullError, known.OutOfDiskError)):
            worker.refusals += 1
            if worker.refusals > REFUSALS:
                self._died(worker, error)
            else:
                worker.listen(self._put, _first_line(error))
        else:
            self._died(worker, error)

    def _hear_begun(self, worker: ActorHandle, chunk: int) -> None:
        job = worker.jobs.get(chunk)
        if job is not None:
            job.told = True
            self._in_flight.out.append(ChunkStarted(chunk, worker.name))

    def _hear_back(self, worker: ActorHandle, number: int, chunk: int) -> None:
        job = worker.jobs.get(chunk)
        if job is not None and job.call == number:
            self._in_flight.came_back(job)

    def _hear_report(self, worker: ActorHandle, report: Report) -> None:
        job = worker.jobs.get(report.chunk)
        for stage, block in enumerate(report.blocks):
            if isinstance(block, Held):
                ref = worker.arrived.pop(0)
                if job is not None:
                    handle = BlockHandle(report.chunk, stage, report.first)
                    self._in_flight.values.keep(handle, ref, worker.node, block.nbytes)
        if job is None:
            return
        job.reported = report.first + report.count
        if report.final:
            self._in_flight.end(job)
        self._in_flight.out.append(report)

    def _hear_lost(self, worker: ActorHandle, chunk: int, reason: str, text: str) -> None:
        job = worker.jobs.get(chunk)
        if job is not None:
            self._in_flight.lose(job, reason, text)

    def _hear_stopped(
        self, worker: ActorHandle, lost: ChunkLost, item: ItemTimedOut | ItemCancelled | None
    ) -> None:
        job = worker.jobs.get(lost.chunk)
        if job is None:
            return
        if item is not None:
            self._in_flight.out.append(item)
        self._in_flight.end(job)
        self._in_flight.out.append(lost)

    def _hear_missing(self, worker: ActorHandle, chunk: int, handles: list[BlockHandle], text: str) -> None:
        self._in_flight.out += self._in_flight.values.lose(handles)
        job = worker.jobs.get(chunk)
        if job is not None:
            self._in_flight.lose(job, "values-lost", text, ())

    def _hear_log(self, worker: ActorHandle, lines: list[LogLine], dropped: int) -> None:
        self._in_flight.out.append(Logs(lines, dropped))

    def _hear_request(
        self, worker: ActorHandle, number: int, chunk: int, position: int, kind: str, data: bytes
    ) -> None:
        reply = answering(lambda good, answer: self._put(("answer", worker, number, good, answer)))
        payload = opened(kind, data, reply)
        if payload is not None:
            self._in_flight.out.append(WorkerRequest(chunk, position, kind, payload[0], reply))

    HEARS: ClassVar[dict[str, Callable[..., None]]] = {
        "begun": _hear_begun,
        "back": _hear_back,
        "report": _hear_report,
        "lost": _hear_lost,
        "stopped": _hear_stopped,
        "missing": _hear_missing,
        "log": _hear_log,
        "request": _hear_request,
    }

    def _answer(self, worker: ActorHandle, number: int, good: bool, data: bytes) -> None:
        if worker in self._pool.workers:
            worker.tell(("reply", number, good, data))

    # -- what goes wrong ---------------------------------------------------------------------------

    def _died(self, worker: ActorHandle, error: BaseException) -> None:
        """Take it out; what ran on it is known once its page was read."""
        oom = isinstance(error, self._ray.exceptions.OutOfMemoryError) or LOW_ON_MEMORY in str(error)
        worker.end = "out-of-memory" if oom else "worker-lost", _how(worker, error, oom)
        worker.died_at = time.monotonic()
        lasting = self._pool.died(worker) or worker.node not in self._pool.nodes
        self._dying.append(worker)
        self._pool.last_item(worker)
        self._in_flight.out.append(WorkerLost(worker.name, worker.end[1]))
        self._tell_slots()
        if not lasting:
            self.failure = RunnerError(f"workers cannot start on Ray: {worker.end[1]}")
        elif not self._in_flight.ending:
            self._in_flight.staff()

    def _block_lost(self, handle: BlockHandle) -> None:
        """Somebody in the driver wanted to read a block, and Ray has it no more."""
        self._in_flight.out += self._in_flight.values.lose([handle])

    def _verdict(self, worker: ActorHandle, running: Running | None) -> None:
        """The chunk that its page names was lost, by the item that stands there; those it had not begun come back."""
        if worker not in self._dying:
            return
        self._dying.remove(worker)
        for n, job in enumerate(list(worker.jobs.values())):
            here = running if running is not None and running.chunk == job.id else None
            begun = job.told or job.reported
            if here is None and not begun and (n or running is not None):
                self._in_flight.came_back(job)
            else:
                self._lose_begun(worker, job, here, innocent=here is None and running is not None)

    def _lose_begun(self, worker: ActorHandle, job: ActorJob, running: Running | None, *, innocent: bool) -> None:
        """`innocent`: its end was not heard of, and another chunk ran when the worker died."""
        reason, text = worker.end
        if innocent:
            self._in_flight.lose(job, reason, text, ())
        elif running is None or running.position < job.reported:
            self._in_flight.lose(job, reason, text)
        else:
            self._in_flight.end(job)
            suspects = (running.position,)
            self._in_flight.out.append(ChunkLost(job.id, reason, text, suspects, alone=True, stage=running.stage))

    def look(self) -> None:
        """Ask for the nodes, see to the pool's size; find calls that ended before the actor's code was reached."""
        self._pool.nodes.ask()
        if self._beheaded():
            self.headless = True
            self.failure = RunnerError(
                f"Ray's head has not answered for {self._patience:g} s: it was killed or cut off"
            )
            return
        now = time.monotonic()
        for worker in list(self._dying):
            if now - worker.died_at > VERDICT_SECONDS:
                self._verdict(worker, None)
        if not self._in_flight.ending:
            self._in_flight.staff()
        self._tell_slots()
        self._look_at_calls()

    def _beheaded(self) -> bool:
        """Whether the head is silent for too long; questions count too: a driver that was stopped has not asked."""
        nodes = self._pool.nodes
        return nodes.silent > self._patience / TICK / 2 and time.monotonic() - nodes.heard > self._patience

    def _nodes(self, found: list[dict[str, Any]] | None) -> None:
        """The head has answered (None: it could not be asked); what lay on nodes that are gone is lost."""
        gone = self._pool.nodes.take(found)
        if not gone:
            return
        self._in_flight.out += self._in_flight.values.lose_nodes(gone, self._elsewhere)
        for worker in list(self._dying):
            if worker.node in gone:
                self._verdict(worker, None)

    def _elsewhere(self, refs: list[Any]) -> list[str]:
        """For each block a node that still has it; "" where there is none."""
        try:
            found = self._ray.experimental.get_object_locations(refs)
        except Exception:  # an experimental part of Ray: without it, what may be copied is made again
            return [""] * len(refs)
        nodes = self._pool.nodes
        return [next((n for n in found.get(ref, {}).get("node_ids", ()) if n in nodes), "") for ref in refs]

    def _look_at_calls(self) -> None:
        calls = {job.ref: job for job in self._in_flight.jobs.values() if job.ref is not None and not job.told}
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
                if job.worker is not None:
                    text = f"Ray could not call its worker: {type(error).__name__}: {error}"
                    self._in_flight.lose(job, "worker-lost", text)


def _how(worker: ActorHandle, error: BaseException, oom: bool) -> str:
    """How it ended, in a line."""
    if oom:
        used = re.search(r"was (\S+ used / \S+ limit)", str(error))
        of = f" ({used[1]})" if used else ""
        return f"Ray ended its worker {worker.name}{_peak(worker, error)} because the node was {LOW_ON_MEMORY}{of}"
    lines = [line.strip() for line in str(error).splitlines()]
    why = next((line for line in lines if "is dead because" in line), lines[0] if lines else "")
    return f"the Ray worker {worker.name} ended: {why.partition('. Some common causes')[0] or type(error).__name__}"


def _peak(worker: ActorHandle, error: BaseException) -> str:
    """What this worker used, among those that Ray says it has ended."""
    found = re.search(rf"Actor\({worker.actor._actor_id.hex()}\): [^\n]*? memory used=([\d.]+)GB", str(error))
    return f" at {found[1]} GB" if found else ""


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
