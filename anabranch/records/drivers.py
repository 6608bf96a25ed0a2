"""The rule by which the driver of a run counts as gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from anabranch.core.errors import RunTakenError
from anabranch.core.incarnations import Incarnation
from anabranch.core.processes import is_here, machine_of, process_alive
from anabranch.core.runs import JOB
from anabranch.records.views import OPEN

if TYPE_CHECKING:
    from anabranch.core.runs import FlowRunRow

STALE = 60.0  # seconds without a sign of life, from another host


class Driver(NamedTuple):
    """The driver of an unfinished run; `seen` is its last sign of life, in Unix seconds."""

    run: str
    attempt: int
    pid: int
    pid_started: float
    host: str
    seen: float
    ended: bool = False
    incarnation: str = ""

    @classmethod
    def of(cls, run: FlowRunRow) -> Self:
        seen = max(run.heartbeat, run.created, run.started or 0.0)
        ended = run.state not in OPEN
        return cls(run.id, run.attempt, run.pid, run.pid_started, run.host, seen, ended, run.incarnation)

    def free(self, now: float) -> bool:
        """Return whether another process may drive the run: it has ended, waits for a driver, or its driver is gone."""
        return self.ended or self.waits or self.gone(now)

    @property
    def waits(self) -> bool:
        """Whether the run has no driver yet: it waits for a job or an agent to start one."""
        return not self.pid and (not self.host or self.host.startswith(JOB))

    def let(self, other: FlowRunRow, now: float) -> bool:
        """Return whether this other driver may take the run over."""
        mine, others = Incarnation.parse(self.incarnation), Incarnation.parse(other.incarnation)
        return others.supersedes(mine) or (self.free(now) and not mine.supersedes(others))

    def gone(self, now: float) -> bool:
        """Return whether the driver is gone: on this host no such process, elsewhere (or without a pid) long
        silent."""
        if self.waits:  # nobody is there to be gone
            return False
        if self.pid and is_here(self.host):
            return not process_alive(self.pid, self.pid_started)
        return now - self.seen > STALE

    @property
    def message(self) -> str:
        return f"its driver process {self.pid} on {machine_of(self.host)} is gone"


def taken(run: str, driver: Driver | None, by: FlowRunRow) -> RunTakenError:
    """Return the error for a run that another process drives than the one that asks for it."""
    if driver is None:
        return RunTakenError(f"there is no run {run!r} in the records")
    theirs, own = Incarnation.parse(driver.incarnation), Incarnation.parse(by.incarnation)
    if theirs.supersedes(own):
        return RunTakenError(
            f"run {run} is driven by restart {theirs.restarts} of job {theirs.job}, and this is its restart "
            f"{own.restarts}: it gives up"
        )
    return RunTakenError(
        f"run {run} has a driver: process {driver.pid} on {machine_of(driver.host)}; wait until it has ended, or end "
        f"it with `anabranch run cancel {run}`"
    )


def ordered(run: str, pool: str) -> RunTakenError:
    """Return the error for a run that an agent is to start, or has started, and that another process asks for."""
    return RunTakenError(
        f"run {run!r} is ordered: an agent of pool {pool!r} starts its driver; end it with `anabranch run cancel {run}`"
    )
