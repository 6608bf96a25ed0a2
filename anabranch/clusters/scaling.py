"""Which jobs an elastic cluster has: a state machine without clock, queue or network. How many: see `wants.py`.

    job:  asked --submitted--> queued --first worker--> running --life over, idle--> leaving --> gone
            |refused             |ended, never joined      |workers lost
            +---- bad starts ----+                         +---> gone, and another one is asked for

The unit is the job, however many worker processes it has. Growth is bounded by a bucket, so that the queue sees no
burst; the cluster shrinks only to the most that it wanted within the last minute, so a lull does not cost a
place in the queue. A job that has ended, or has lost its workers, is not counted any more: the next step asks for
another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from anabranch.clusters.wants import IDLE_SECONDS, Wants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from anabranch.core.clusters import Demand

LOST_SECONDS = 30.0  # without any worker, for a job that had some; a nanny brings its own back sooner
JOIN_SECONDS = 600.0  # for the first worker, once the job runs
BURST = 5  # jobs asked for at once
REFILL_SECONDS = 2.0  # for each further one
PAUSES = (0.0, 1.0, 5.0, 60.0, 300.0)  # after so many bad starts in a row
UNHEARD_PAUSES = (5.0, 15.0, 60.0)  # after so many submissions in a row to which the queue gave no answer
HOPELESS = 3  # bad starts in a row, with no worker there: the cluster says so and asks no more


@dataclass(slots=True)
class Job:
    """One job, from the wish for it to its end."""

    name: str
    asked: float
    leaves: float  # seconds after its first worker; it takes nothing new then
    id: str = ""
    state: str = "asked"  # queued, running, leaving
    begun: float | None = None  # when the queue first said that it runs
    joined: float | None = None  # its first worker
    alone: float | None = None  # since when it has no worker, though it had
    reason: str = ""
    kept: float = -math.inf  # until then it is not asked to leave


class Crew(NamedTuple):
    """The workers of one job."""

    workers: int
    busy: bool


class Seen(NamedTuple):
    """A job as the queue sees it.

    Attributes:
        phase: "queued", "running" or "ended".
        reason: in plain words.
        hopeless: it will not start, however long it waits.
    """

    phase: str
    reason: str = ""
    hopeless: bool = False


class Step(NamedTuple):
    """What is to be done about a job.

    Attributes:
        verb: "submit", "drain" (its workers finish what they run and take nothing new) or "cancel".
        why: in plain words.
        must: it ends soon anyway.
    """

    verb: str
    job: Job
    why: str = ""
    must: bool = False


class Fleet:
    """The jobs of one cluster.

    Args:
        cores: of each job.
        minimum, maximum: jobs; the same number: so many, whatever there is to do.
        leave_after: draws the seconds after which a job is left, before its walltime ends.
        patience: seconds without any worker after which a waiting cluster counts as of no use.
        idle: seconds of too little work after which jobs are let go.
    """

    def __init__(
        self, name: str, cores: int, minimum: int, maximum: int,
        leave_after: Callable[[], float] = lambda: math.inf, patience: float = math.inf, idle: float = IDLE_SECONDS,
    ) -> None:  # fmt: skip
        self.jobs: dict[str, Job] = {}  # by name, those that are not gone
        self.wants = Wants(cores, minimum, maximum, idle)
        self.submitted_count = 0
        self.lost_count = 0  # ended without our doing
        self.last_end = ""  # of a job that never had a worker: why
        self._name = name
        self._leave_after = leave_after
        self._patience = patience
        self._number = 0
        self._bucket = float(BURST)
        self._filled: float | None = None
        self._bad = self._silences = 0
        self._not_before = -math.inf
        self._empty_since: float | None = None

    # -- what is heard -----------------------------------------------------------------------------

    def want(self, minimum: int, maximum: int) -> None:
        """Change the bounds; earlier bad starts are forgiven."""
        self.wants.tell(minimum, maximum)
        self._bad, self._not_before = 0, -math.inf
        self._empty_since = None

    def submitted(self, job: Job, id: str) -> None:
        job.id, job.state, self._silences = id, "queued", 0

    def refused(self, job: Job, why: str, now: float) -> None:
        """Note that the queue did not take a job."""
        self._bad_start(job, f"the queue refused a job: {why}", now)

    def unheard(self, job: Job, why: str, now: float) -> None:
        """Note that the queue gave no answer: nothing is wrong with the job, and it may be there all the same."""
        self.jobs.pop(job.name, None)
        self.last_end = f"the queue gave no answer: {why}"
        self._not_before = now + UNHEARD_PAUSES[min(self._silences, len(UNHEARD_PAUSES) - 1)]
        self._silences += 1

    def looked(self, found: Mapping[str, Seen], asked: float, now: float) -> None:
        """Note what the queue said of jobs by their ids, `asked` at that time; it may have said nothing of some."""
        for job in list(self.jobs.values()):
            seen = found.get(job.id)
            if seen is None or job.asked > asked or (job.joined is not None and job.alone is None):
                continue  # nothing was said of it, or its workers say more
            job.reason = seen.reason
            if seen.phase == "running" and job.begun is None:
                job.begun = now
            elif seen.phase == "queued":
                job.begun = None
            elif seen.phase == "ended" and job.joined is None and job.state != "leaving":
                self._bad_start(job, f"job {job.id} ended before a worker of it came: {seen.reason}", now)
            elif seen.phase == "ended":
                self.gone(job, lost=job.state != "leaving")

    def gone(self, job: Job, *, lost: bool = False) -> None:
        """Forget a job that has ended."""
        if self.jobs.pop(job.name, None) is not None and lost:
            self.lost_count += 1

    def keep(self, job: Job, now: float) -> None:
        """Take back that a job leaves, for a while."""
        job.state, job.kept = "running", now + IDLE_SECONDS

    def _bad_start(self, job: Job, why: str, now: float) -> None:
        self.jobs.pop(job.name, None)
        self._bad += 1
        self.last_end = why
        self._not_before = now + PAUSES[min(self._bad, len(PAUSES) - 1)]

    # -- what is said ------------------------------------------------------------------------------

    def trouble(self, now: float, hopeless: Mapping[str, str] | None = None) -> str:
        """Return why no worker is to be expected; "" while there is hope.

        Args:
            hopeless: reasons of the jobs that will not start, by id.
        """
        if self._works():
            return ""
        if self._bad >= HOPELESS:
            return f"{self._bad} jobs in a row gave no worker; {self.last_end}"
        waiting = [job for job in self.jobs.values() if job.id]
        if waiting and hopeless and all(job.id in hopeless for job in waiting):
            return f"no job can start: {hopeless[waiting[0].id]}"
        if self._empty_since is not None and now - self._empty_since >= self._patience:
            return f"no worker came within {self._patience:g} s: {waiting[0].reason if waiting else 'no job was taken'}"
        return ""

    def _works(self) -> bool:
        return any(job.joined is not None and job.alone is None for job in self.jobs.values())

    def step(self, now: float, crews: Mapping[str, Crew], demands: Iterable[Demand]) -> list[Step]:
        """Return what is to be done now.

        Args:
            crews: the workers that are connected, by the job's name.
        """
        steps = self._follow(now, crews)
        wants = self.wants
        wants.look(now, demands, any(crew.busy for crew in crews.values()))
        counted = [job for job in self.jobs.values() if job.state != "leaving"]
        if len(counted) < wants.target:
            steps += self._grow(now, wants.target - len(counted))
        elif len(counted) > wants.floor(now):
            steps += self._shrink(now, counted, len(counted) - wants.floor(now), crews)
        else:
            wants.settled()
        none = not any(crew.workers for crew in crews.values())
        if not (none and wants.target):
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        return steps

    def _follow(self, now: float, crews: Mapping[str, Crew]) -> list[Step]:
        """Note workers that came and went; jobs whose time is over leave, and those without workers are given up."""
        steps = []
        for job in list(self.jobs.values()):
            if crews.get(job.name, Crew(0, False)).workers:
                if job.joined is None:
                    job.joined, self._bad = now, 0
                if job.state == "queued":
                    job.state = "running"
                job.alone, job.reason = None, ""
                if job.state == "running" and now - job.joined >= job.leaves:
                    job.state = "leaving"
                    steps.append(Step("drain", job, "its walltime is near", must=True))
            elif job.joined is not None:
                job.alone = now if job.alone is None else job.alone
                if now - job.alone >= LOST_SECONDS:
                    self.gone(job, lost=job.state != "leaving")
                    steps.append(Step("cancel", job, "its workers are gone"))
            elif job.begun is not None and now - job.begun >= JOIN_SECONDS:
                why = f"job {job.id} has been running for {JOIN_SECONDS:g} s, and no worker of it came"
                self._bad_start(job, why, now)
                steps.append(Step("cancel", job, why))
        return steps

    def _grow(self, now: float, missing: int) -> list[Step]:
        passed = now - self._filled if self._filled is not None else 0.0
        self._filled, self._bucket = now, min(float(BURST), self._bucket + passed / REFILL_SECONDS)
        if now < self._not_before or (self._bad >= HOPELESS and not self._works()):
            return []
        steps = []
        # After a bad start one job is tried; many that all end at once help nobody.
        for _ in range(min(missing, int(self._bucket), 1 if self._bad or self._silences else missing)):
            self._number += 1
            job = Job(f"{self._name}-{self._number}", now, self._leave_after())
            self.jobs[job.name] = job
            self._bucket -= 1
            self.submitted_count += 1
            steps.append(Step("submit", job))
        return steps

    def _shrink(self, now: float, counted: list[Job], over: int, crews: Mapping[str, Crew]) -> list[Step]:
        """Let jobs go: the latest of those that wait, then idle ones; busy ones where the user has said how many."""
        waiting = [job for job in reversed(counted) if job.state == "queued"]
        running = [job for job in reversed(counted) if job.state == "running" and now >= job.kept]
        idle = [job for job in running if not crews.get(job.name, Crew(0, False)).busy]
        busy = [job for job in running if job not in idle] if self.wants.fixed else []
        steps = []
        for job in [*waiting, *idle, *busy][:over]:
            if job.state == "queued":
                self.gone(job)
                steps.append(Step("cancel", job, "it is not needed any more"))
            else:
                job.state = "leaving"
                steps.append(Step("drain", job, "it is not needed any more"))
        return steps
