"""The places of chunks: the state of a `ProcessRunner`, and what follows from what its workers do.

    queued --give--> with a worker, not begun --page says so--> begun --> final report | lost
       ^                        |                                |
       +------- taken back, or its worker died ------------------+-- its worker died: lost, the item that ran is blamed
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import VersionMismatch
from anabranch.core.events import ChunkLost, ChunkStarted, EngineLost, Logs, WorkerJoined, WorkerLost, WorkerRequest
from anabranch.core.log_lines import LogLine
from anabranch.core.processes import process_stopped
from anabranch.core.reports import Held, Report
from anabranch.runners.placing.jobs import Job, merge
from anabranch.runners.placing.policy import ChunkScheduler
from anabranch.runners.process import wire
from anabranch.runners.process.deaths import Deaths
from anabranch.runners.process.held_blocks import HeldBlocks
from anabranch.runners.transport.requests import answering, opened
from anabranch.runners.transport.value_files import block_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.events import Event
    from anabranch.runners.process.worker_handle import WorkerProcess
    from anabranch.runners.process.worker_pool import WorkerPool
    from anabranch.runners.transport.value_files import Store

    ProcessJob = Job[WorkerProcess]

MEMORY_SECONDS = 0.25  # between looks at the workers' memory
STATE_SECONDS = 1.0  # between looks at whether they were stopped
STOPPED_SECONDS = 30.0  # a worker that a signal has stopped for so long is given up
_log = logging.getLogger("anabranch")


class SharedValue(NamedTuple):
    """A value that was put."""

    frame: bytes
    names: tuple[int, ...]  # other shared values that it names
    file: str | None


class _Asked(NamedTuple):
    """A worker's request, still pickled: user code of its payload must not run under the lock."""

    worker: WorkerProcess
    number: int
    chunk: int
    position: int
    kind: str
    data: bytes


class InFlight:
    """All of it is for holders of `lock`, but for `pending` and `deliver`."""

    pool: WorkerPool  # both are there once the runner has started
    store: Store
    sink: Callable[[Sequence[Event]], None]

    def __init__(
        self, size: int, offers: dict[str, float], memory_limit: int | None, max_tasks_per_child: int | None
    ) -> None:
        self.lock = threading.Lock()
        self.empty = threading.Condition(self.lock)
        self.size = size
        self.memory_limit = memory_limit
        self.max_tasks_per_child = max_tasks_per_child
        self.scheduler: ChunkScheduler[ProcessJob, WorkerProcess] = ChunkScheduler(offers)
        self.shared: dict[int, SharedValue] = {}
        self.blocks = HeldBlocks()
        self.closed = self.lost = False
        self._events: list[Event | _Asked] = []
        self._memory_at = self._state_at = 0.0
        self._deaths = Deaths()

    # -- giving out ------------------------------------------------------------------------------

    @property
    def jobs(self) -> dict[int, ProcessJob]:
        """Chunks that have not ended."""
        return self.scheduler.jobs

    def take(self, made: Sequence[ProcessJob | ChunkLost]) -> None:
        """Queue new chunks; those that could not be pickled have ended already."""
        if self.lost:
            return
        for job in made:
            if isinstance(job, ChunkLost):
                self.tell(job)
                continue
            self.scheduler.push(job)
            if self.closed:
                self.give_back(job)
        self.assign()

    def assign(self) -> None:
        """Give queued chunks to workers that have room; where there are none left, even out."""
        workers = self.pool.workers
        for worker, job in self.scheduler.give_out(workers, self.size):
            self._send(worker, job)
        crowded = self.scheduler.crowded(workers, self.size)
        if crowded:
            for worker in crowded:
                self._take_back(worker)
            for worker, job in self.scheduler.give_out(workers, self.size):
                self._send(worker, job)

    def _send(self, worker: WorkerProcess, job: ProcessJob) -> None:
        for shared_id in job.shared:
            if shared_id not in worker.sent and shared_id in self.shared:
                worker.sent.add(shared_id)
                self.pool.send(worker, worker.control, self.shared[shared_id].frame)
        if job.limit is not None:
            self.control(worker, wire.LIMIT, job.id, job.limit)
        if job.cancelled is None or job.cancelled:
            self.control(worker, wire.CANCEL, job.id, job.cancelled)
        if job.around.number != worker.around:
            worker.around = job.around.number
            self.control(worker, wire.AROUND, *job.around)
        message = wire.chunk_message(job.id, worker.spoken, job.around.number, job.fields, job.file)
        self.pool.send(worker, worker.chunks, message)
        worker.items += job.size
        if self.max_tasks_per_child is not None and worker.items >= self.max_tasks_per_child:
            worker.retiring = True
            self.pool.look_soon()

    def _take_back(self, worker: WorkerProcess) -> None:
        for job in worker.take_back():
            self._came_back(worker, job)

    def _came_back(self, worker: WorkerProcess, job: ProcessJob) -> None:
        """The worker has not begun it and will not."""
        worker.items -= job.size
        self.scheduler.came_back(job)
        if self.closed:
            self.give_back(job)

    def give_all_back(self) -> None:
        """End what is queued, or not begun."""
        for job in list(self.jobs.values()):
            if job.worker is None:
                self.give_back(job)
        for worker in self.pool.workers:
            self._take_back(worker)

    def give_back(self, job: ProcessJob) -> None:
        """A queued chunk ends with nothing done."""
        self.end(job)
        self.tell(Report(job.id, 0, 0, True))

    def end(self, job: ProcessJob) -> None:
        worker = self.scheduler.end(job)
        if worker is not None:
            worker.idle_since = time.monotonic()
            if worker.retiring:
                self.pool.retire(worker)
        if job.file is not None:
            self.store.unlink((job.file,))
        if not self.scheduler.jobs:
            self.empty.notify_all()

    def control(self, worker: WorkerProcess, kind: int, *fields: Any) -> None:
        self.pool.send(worker, worker.control, wire.message(kind, *fields))

    def tell(self, *events: Event | _Asked) -> None:
        self._events.extend(events)
        if threading.current_thread() is not self.pool.thread:
            self.pool.wake()

    # -- what callers ask for --------------------------------------------------------------------

    def shorten(self, chunk: int, keep: int) -> None:
        job = self.scheduler.shorten(chunk, keep)
        if job is None:
            return
        if job.worker is not None:
            self.control(job.worker, wire.LIMIT, chunk, keep)
        elif job.nothing_left:
            self.give_back(job)

    def cancel(self, chunk: int, positions: Sequence[int] | None, *, force: bool) -> None:
        job = self.scheduler.cancel(chunk, positions)
        if job is None:
            return
        worker = job.worker
        if worker is None:
            if job.nothing_left:
                self.give_back(job)
            return
        self.control(worker, wire.CANCEL, chunk, None if positions is None else tuple(positions))
        if force:
            job.forced = merge(job.forced, positions)  # looked at again, should it be about to start
            running = worker.page.read()
            if running is not None and job.to_stop(running):
                worker.kill("cancel")

    def blocked(self, chunk: int, step: int) -> None:
        """One item more of it (or one less) waits for others: its worker gets nothing, another one works meanwhile."""
        worker = self.scheduler.blocked(chunk, step)
        if worker is None:
            return
        if worker.waiting:
            self._take_back(worker)
        self.pool.look_soon()
        self.assign()

    def drop(self, shared_ids: Iterable[int]) -> None:
        self.scheduler.dropping.update(n for n in shared_ids if n in self.shared)
        self.drop_unneeded()

    def drop_unneeded(self) -> None:
        gone = self.scheduler.drop_unneeded()
        files = [self.shared.pop(n).file for n in gone]
        self.store.unlink(name for name in files if name is not None)
        for worker in self.pool.workers:
            theirs = gone & worker.sent
            if theirs:
                worker.sent -= theirs
                self.control(worker, wire.DROP, *theirs)

    # -- what the pool tells (in its thread, under the lock but for `deliver`) -----------------------

    def heard(self, worker: WorkerProcess, kind: int, body: bytes) -> None:
        fields = pickle.loads(body)
        if kind == wire.REPORT:
            self._reported(worker, wire.report_of(fields))
        elif kind == wire.LOGS:
            self.tell(Logs(fields[0], fields[1], next(iter(worker.jobs), 0)))
        elif kind == wire.HELLO:
            self._joined(worker, *fields)
        elif kind == wire.REQUEST:
            self.tell(_Asked(worker, *fields))
        elif fields[0] in worker.jobs:
            self._told_lost(worker, *fields)

    def _told_lost(self, worker: WorkerProcess, chunk: int, reason: str, text: str) -> None:
        """The worker's half could not end a chunk, and says why."""
        job = worker.jobs[chunk]
        suspects, stage = None, 0
        if reason == "out-of-memory":  # what it has taken it will hardly give back: another worker is better off
            running = worker.page.read()
            on_item = running is not None and running.chunk == chunk and running.position >= job.reported
            if running is not None and on_item:
                suspects, stage = (running.position,), running.stage
            worker.retiring = True
            self.pool.look_soon()
        alone = suspects is not None or job.size - job.reported == 1
        self.tell(ChunkLost(chunk, reason, text, suspects, alone, stage))
        self.end(job)

    def _reported(self, worker: WorkerProcess, report: Report) -> None:
        job = worker.jobs.get(report.chunk)
        if job is None:
            self._refuse(worker, report)
            return
        job.reported = report.first + report.count
        for stage, block in enumerate(report.blocks):
            if type(block) is Held:
                self.blocks.add(BlockHandle(report.chunk, stage, report.first))
        if report.final:
            self.end(job)
        self._events.append(report)

    def _refuse(self, worker: WorkerProcess, report: Report) -> None:
        """A report of a chunk that was given to others meanwhile: nothing of it counts, its values go."""
        held = [s for s, block in enumerate(report.blocks) if type(block) is Held]
        self.store.unlink([block_name(BlockHandle(report.chunk, stage, report.first)) for stage in held])
        if report.count:
            text = (
                f"{report.count} late result(s) of {worker.name} (pid {worker.pid}) are refused: it was stopped for "
                "too long, and its work was given to another worker"
            )
            self.tell(Logs([LogLine(time.time(), logging.WARNING, "anabranch", text, "", "", -1)]))

    def _joined(self, worker: WorkerProcess, theirs: dict[str, str]) -> None:
        ours = wire.versions()
        if theirs != ours:
            self.hopeless(str(VersionMismatch(f"the driver has {ours}, its worker {worker.name} has {theirs}")))
            return
        worker.ready = True
        worker.idle_since = time.monotonic()
        self.tell(WorkerJoined(worker.name))

    def look(self, now: float) -> float:
        """Stop what is past its limits; when to look again, for an item that will be."""
        soonest = float("inf")
        weigh = self.memory_limit is not None and now >= self._memory_at
        if weigh:
            self._memory_at = now + MEMORY_SECONDS
        for worker in self.pool.workers:
            running = worker.page.read() if worker.jobs else None
            job = worker.jobs.get(running.chunk) if running is not None else None
            if running is None or job is None:
                continue
            if not job.told:
                job.told = True
                self.tell(ChunkStarted(job.id, worker.name))
            if weigh and self.memory_limit is not None and worker.memory() > self.memory_limit:
                may = f"{worker.name} may use {self.memory_limit >> 20} MB"
                worker.kill("memory", f"peak {worker.peak >> 20} MB, and {may}")
            elif running.late(now):
                worker.kill("timeout")
            elif job.forced != set() and job.to_stop(running):
                worker.kill("cancel")
            elif running.limit and running.position >= 0:
                soonest = min(soonest, running.started + running.limit)
        if now >= self._state_at:
            self._state_at = now + STATE_SECONDS
            self._look_for_stopped(now)
        if self.scheduler.dropping:
            self.drop_unneeded()
        return soonest

    def _look_for_stopped(self, now: float) -> None:
        """Give up workers that a signal has stopped for too long. One that computes, for however long, is no such."""
        for worker in list(self.pool.workers):
            if not worker.jobs or worker.given_up or not process_stopped(worker.pid):
                worker.stopped_since = None
            elif worker.stopped_since is None:
                worker.stopped_since = now
            elif now - worker.stopped_since >= STOPPED_SECONDS:
                self._give_up(worker, f"{worker.name} (pid {worker.pid}) was stopped by a signal and did not go on")

    def _give_up(self, worker: WorkerProcess, how: str) -> None:
        """Its work is others' from now on. Should it wake up, it ends the item it is at, and itself."""
        worker.given_up = worker.retiring = True
        self._take_back(worker)
        running = worker.page.read()
        for job in list(worker.jobs.values()):
            here = running if running is not None and running.chunk == job.id else None
            self.tell(*self._deaths.verdict(worker, job, here, how))
            self.control(worker, wire.LIMIT, job.id, 0)
            self.end(job)
        self.pool.look_soon()

    def died(self, worker: WorkerProcess, how: str) -> None:
        running = worker.page.read()
        for job in list(worker.jobs.values()):
            if job.reported or (running is not None and running.chunk == job.id):
                here = running if running is not None and running.chunk == job.id else None
                self.tell(*self._deaths.verdict(worker, job, here, how))
                self.store.unlink_chunk(job.id, self.blocks.files_of(job.id))
                self.end(job)
            else:
                self._came_back(worker, job)
        if not self.closed:
            self.tell(WorkerLost(worker.name, "retired" if worker.leaving else how))

    def hopeless(self, reason: str) -> None:
        self.lost = True
        self.tell(EngineLost(reason))
        self.jobs.clear()
        self.empty.notify_all()
        for worker in self.pool.workers:
            worker.jobs.clear()
            worker.kill("closed")
        self.pool.end()

    def pending(self) -> bool:
        return bool(self._events or self.blocks.released)

    def deliver(self) -> None:
        self.blocks.let_go(self.store)
        while self._events:
            with self.lock:
                found, self._events = self._events, []
            events = [self._opened(event) if isinstance(event, _Asked) else event for event in found]
            try:
                self.sink([event for event in events if event is not None])
            except Exception:
                _log.exception("the receiver of a runner's events failed")

    def _opened(self, asked: _Asked) -> Event | None:
        worker = asked.worker

        def say(good: bool, answer: bytes) -> None:
            with self.lock:
                if worker in self.pool.workers:
                    self.control(worker, wire.REPLY, asked.number, good, answer)

        reply = answering(say)
        payload = opened(asked.kind, asked.data, reply)
        return None if payload is None else WorkerRequest(asked.chunk, asked.position, asked.kind, payload[0], reply)
