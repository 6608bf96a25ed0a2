"""Which worker gets which chunk: two a worker, in order. Bookkeeping alone, without threads, clocks or messages.

    queued --give_out--> with a worker: the first chunk runs, the second lies ready --end--> forgotten
       ^                                     |
       +------------- came_back -------------+

The second chunk saves the worker the way to the driver and back. It is taken back from a worker whose task waits
for others, and from a busy worker where another one is idle. The caller carries out what this decides: it sends what
`give_out` yields, and asks the workers of `crowded` for their second chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from anabranch.runners.placing.jobs import Job, Queue, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anabranch.runners.placing.jobs import Kind


class Worker(Protocol):
    """What the scheduler knows of a worker; `kind`, `ready` and `retiring` are the caller's to set."""

    jobs: dict[int, Any]  # in the order they were sent: the first one runs
    sent: set[int]  # shared values that it has
    kind: Kind  # what it reserves; a worker that reserves something runs one chunk at a time
    ready: bool
    retiring: bool  # gets no more chunks
    waiting: bool  # its task waits for others


J = TypeVar("J", bound=Job[Any])
W = TypeVar("W", bound=Worker)


class ChunkScheduler(Generic[J, W]):
    """The chunks of one runner that have not ended.

    Args:
        offers: how much there is of each resource that a chunk may ask for; the others hold nothing back.
    """

    def __init__(self, offers: dict[str, float]) -> None:
        self.jobs: dict[int, J] = {}
        self.dropping: set[int] = set()  # shared values to be forgotten once no chunk names them
        self._queues: dict[Kind, Queue[J]] = {(): Queue(offers)}

    # -- giving out ------------------------------------------------------------------------------

    def push(self, job: J) -> None:
        """Queue a chunk."""
        self.jobs[job.id] = job
        self._queue(job).push(job)

    def grow(self, more: dict[str, float]) -> None:
        """So much of each resource has come (below 0: has gone)."""
        self._queues[()].grow(more)

    def give_out(self, workers: Sequence[W], size: int) -> Iterator[tuple[W, J]]:
        """Queued chunks with the workers that get them now; each has been noted as the worker's.

        Args:
            size: how many workers may be busy at once.
        """
        for kind, queue in self._queues.items():
            if kind:
                yield from self._one_each(kind, queue, workers)
                continue
            while queue:
                worker = _roomy(workers, size)
                job = queue.pop(idle=not worker.jobs) if worker is not None else None
                if worker is None or job is None:
                    break
                worker.jobs[job.id] = job
                job.worker = worker
                yield worker, job

    def _one_each(self, kind: Kind, queue: Queue[J], workers: Sequence[W]) -> Iterator[tuple[W, J]]:
        for worker in workers:
            if worker.kind == kind and worker.ready and not worker.jobs:
                job = queue.pop(idle=True)
                if job is None:
                    return
                worker.jobs[job.id] = job
                job.worker = worker
                yield worker, job

    def crowded(self, workers: Iterable[W], size: int) -> list[W]:
        """Busy workers whose second chunk an idle one can run at once: as many as there are idle ones."""
        busy = idle = 0
        two = []
        for worker in workers:
            if worker.kind:
                continue
            if not worker.jobs:
                idle += worker.ready and not worker.retiring
                continue
            busy += not worker.waiting
            if len(worker.jobs) > 1:
                two.append(worker)
        return two[: max(0, min(idle, size - busy))] if busy else []

    def came_back(self, job: J) -> None:
        """Its worker has not begun it and will not: it waits in its old place."""
        worker: W | None = job.worker
        if worker is not None:
            del worker.jobs[job.id]
        job.worker = None
        job.told = False
        queue = self._queue(job)
        queue.count(job, 1)
        queue.push(job)

    def end(self, job: J) -> W | None:
        """Forget a chunk; the worker that had it."""
        del self.jobs[job.id]
        job.queued = False
        worker: W | None = job.worker
        if worker is not None:
            worker.jobs.pop(job.id, None)
            if job.waiting:
                worker.waiting = False
            elif job.resources:
                self._queue(job).count(job, 1)
        return worker

    # -- what callers ask for --------------------------------------------------------------------

    def shorten(self, chunk: int, keep: int) -> J | None:
        """Note that nothing from `keep` on is to start; the chunk, where that is news."""
        job = self.jobs.get(chunk)
        if job is None or (job.limit is not None and job.limit <= keep):
            return None
        job.limit = keep
        return job

    def cancel(self, chunk: int, positions: Sequence[int] | None) -> J | None:
        """Note that these positions (None: all) are not to start; the chunk, where it has not ended."""
        job = self.jobs.get(chunk)
        if job is not None:
            job.cancelled = merge(job.cancelled, positions)
        return job

    def blocked(self, chunk: int, step: int) -> W | None:
        """One item more (or one less) of a chunk waits for others; its worker, where that began or ended to wait.

        A worker that waits gets nothing, and lends the resources of its chunk.
        """
        job = self.jobs.get(chunk)
        worker: W | None = None if job is None else job.worker
        if job is None or worker is None:
            return None
        before = job.waiting > 0
        job.waiting = max(0, job.waiting + step)
        if (job.waiting > 0) == before:
            return None
        worker.waiting = not before
        self._queue(job).count(job, -1 if before else 1)
        return worker

    def drop_unneeded(self) -> set[int]:
        """Shared values that were to be forgotten and that no chunk names any more: they are forgotten now."""
        gone = self.dropping.difference(*(job.shared for job in self.jobs.values()))
        self.dropping -= gone
        return gone

    def _queue(self, job: J) -> Queue[J]:
        queue = self._queues.get(job.kind)
        if queue is None:
            queue = self._queues[job.kind] = Queue({})
        return queue


def _roomy(workers: Iterable[W], size: int) -> W | None:
    """An idle worker while fewer than `size` are busy, else one that has a single chunk."""
    idle = half = None
    running = 0
    for worker in workers:
        if worker.waiting or worker.kind:
            continue
        count = len(worker.jobs)
        running += count > 0
        if worker.ready and not worker.retiring:
            if not count:
                idle = idle or worker
            elif count == 1:
                half = half or worker
    return idle if idle is not None and running < size else half
