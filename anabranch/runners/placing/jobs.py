"""Chunks that have not ended, and the order in which they are given out."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from anabranch.core.chunks import Stage
from anabranch.core.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.runners.placing.status_page import Running

W = TypeVar("W")  # a worker, as its runner knows it
Positions = set[int] | None  # None: all


Kind = tuple[tuple[str, float], ...]  # of a worker: the resources that it reserves, () for most


@dataclass(slots=True, eq=False)
class Job(Generic[W]):
    """A chunk on its way: queued, or with a worker."""

    id: int
    size: int
    fields: bytes  # pickled
    shared: tuple[int, ...]  # what has to be put first
    priority: int = 0
    resources: dict[str, float] = field(default_factory=dict)
    file: str | None = None  # where its large arguments lie
    order: int = 0
    queued: bool = False
    worker: W | None = None
    kind: Kind = ()  # of the workers that can run it
    limit: int | None = None
    cancelled: Positions = field(default_factory=set)
    forced: Positions = field(default_factory=set)  # to be stopped even when they run
    reported: int = 0
    waiting: int = 0  # its items that wait for other runs
    told: bool = False  # that it has started
    around: Surroundings = Surroundings()  # of the driver, as it was submitted

    @property
    def nothing_left(self) -> bool:
        """Whether none of its items may start any more."""
        if self.cancelled is None or (self.limit is not None and self.limit <= 0):
            return True
        return len(self.cancelled) >= self.size and self.cancelled.issuperset(range(self.size))

    def to_stop(self, running: Running) -> bool:
        """Whether the item that runs was to be stopped."""
        here = running.chunk == self.id and running.position >= 0
        return here and (self.forced is None or running.position in self.forced)


def merge(known: Positions, more: Sequence[int] | None) -> Positions:
    """Positions asked for by now."""
    return None if known is None or more is None else known.union(more)


class Naming(Protocol):
    """A shared value, as its runner keeps it."""

    @property
    def names(self) -> tuple[int, ...]:
        """Other shared values that it names."""
        ...


def named_by(value: object) -> tuple[int, ...]:
    """The shared values that a shared value names: a stage its task and its constants."""
    if not isinstance(value, Stage):
        return ()
    return (value.spec,) if value.constants is None else (value.spec, value.constants)


def needed(stages: tuple[int, ...], shared: Mapping[int, Naming]) -> tuple[int, ...]:
    """What a worker has to have for a chunk of these stages."""
    found = stages
    for stage in stages:
        if stage in shared:
            found += shared[stage].names
    return found


J = TypeVar("J", bound=Job[Any])


class Queue(Generic[J]):
    """Jobs that wait: by priority, then in the order they came. Jobs that need resources wait apart."""

    def __init__(self, offers: dict[str, float]) -> None:
        self._free = dict(offers)
        self._plain: list[tuple[int, int, J]] = []
        self._needy: list[tuple[int, int, J]] = []
        self._orders = 0

    def __bool__(self) -> bool:
        return bool(self._plain or self._needy)

    def grow(self, more: dict[str, float]) -> None:
        """So much of each resource has come (below 0: has gone)."""
        for name, amount in more.items():
            self._free[name] = self._free.get(name, 0.0) + amount

    def push(self, job: J) -> None:
        """Add a job; one that was here before gets its old place."""
        if not job.order:
            self._orders += 1
            job.order = self._orders
        job.queued = True
        heapq.heappush(self._needy if job.resources else self._plain, (-job.priority, job.order, job))

    def pop(self, *, idle: bool) -> J | None:
        """The next job for a worker, with its resources taken; only an idle worker gets one that needs some."""
        if self._needy and idle:
            job = self._pop_needy()
            if job is not None:
                return job
        while self._plain:
            job = heapq.heappop(self._plain)[2]
            if job.queued:
                job.queued = False
                return job
        return None

    def _pop_needy(self) -> J | None:
        self._needy = sorted(entry for entry in self._needy if entry[2].queued)
        for n, (_, _, job) in enumerate(self._needy):
            if all(amount <= self._free.get(name, amount) for name, amount in job.resources.items()):
                del self._needy[n]
                job.queued = False
                self.count(job, -1)
                return job
        return None

    def count(self, job: J, step: int) -> None:
        """Take a job's resources (-1) or give them back (1)."""
        for name, amount in job.resources.items():
            if name in self._free:
                self._free[name] += step * amount
