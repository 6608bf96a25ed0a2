"""The fleet of an elastic cluster, in virtual time: how many jobs, which go, what is replaced, what is given up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from anabranch.clusters.scaling import (
    BURST,
    HOPELESS,
    JOIN_SECONDS,
    LOST_SECONDS,
    Crew,
    Fleet,
    Seen,
)  # fmt: skip
from anabranch.clusters.wants import IDLE_SECONDS, target
from anabranch.core.clusters import Demand

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING = Demand()
MUCH = Demand(slots=10_000, seconds=1e6)


class Site:
    """A batch system in virtual time, around one fleet.

    Args:
        wait: seconds from a submission to the first worker.
        processes: workers of a job; they join one after the other.
    """

    def __init__(self, fleet: Fleet, *, wait: float = 5.0, processes: int = 1) -> None:
        self.fleet = fleet
        self.wait = wait
        self.processes = processes
        self.now = 0.0
        self.demand: Callable[[], Demand] = lambda: NOTHING
        self.busy: set[str] = set()
        self.jobs: dict[str, float] = {}  # by name, when each was submitted
        self.submits: list[float] = []
        self.cancels: list[str] = []
        self.drains: list[str] = []
        self.refusing = ""
        self.silent = False

    def crews(self) -> dict[str, Crew]:
        found = {}
        for name, begun in self.jobs.items():
            there = min(self.processes, math.floor(self.now - begun - self.wait) + 1)
            if there > 0:
                found[name] = Crew(there, name in self.busy)
        return found

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            for step in self.fleet.step(self.now, self.crews(), [self.demand()]):
                if step.verb == "submit":
                    self.submits.append(self.now)
                    if self.silent:
                        self.fleet.unheard(step.job, "Socket timed out", self.now)
                        continue
                    if self.refusing:
                        self.fleet.refused(step.job, self.refusing, self.now)
                        continue
                    self.jobs[step.job.name] = self.now
                    self.fleet.submitted(step.job, f"id-{step.job.name}")
                else:
                    (self.drains if step.verb == "drain" else self.cancels).append(step.job.name)
                    if step.verb == "drain":
                        self.fleet.gone(step.job)
                    self.jobs.pop(step.job.name, None)
                    self.busy.discard(step.job.name)
            self.now += 1.0

    def kill(self, name: str) -> None:
        del self.jobs[name]

    def look(self, phase: str = "ended", reason: str = "") -> dict[str, Seen]:
        return {f"id-{name}": Seen(phase, reason) for name in self.fleet.jobs}


def site(minimum: int = 0, maximum: int = 10, *, cores: int = 1, patience: float = math.inf, **options: float) -> Site:
    return Site(Fleet("c", cores, minimum, maximum, patience=patience), **options)  # type: ignore[arg-type]


# -- how many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demand", "cores", "unseen_seconds", "jobs"),
    [
        (NOTHING, 4, 0.0, 0),
        (Demand(1, 0.01), 4, 0.0, 1),  # something to do: one job
        (Demand(1, 1e6), 4, 0.0, 1),  # one item of days does not fill two
        (Demand(8, 1e6), 4, 0.0, 2),
        (Demand(10_000, 600.0), 4, 0.0, 3),  # ten minutes of work: 2.5 jobs for a minute
        (Demand(10_000, 1e6), 4, 0.0, 10),
        (Demand(100, 0.0, 100), 4, 0.0, 1),  # nobody knows what they take: one job looks
        (Demand(100, 0.0, 100), 4, 5.0, 3),  # they take 5 s at least
        (Demand(100, 0.0, 100), 4, 3600.0, 10),
    ],
)
def test_the_work_says_how_many_jobs(demand: Demand, cores: int, unseen_seconds: float, jobs: int) -> None:
    assert target([demand], cores, 0, 10, unseen_seconds) == jobs


def test_the_work_of_several_programs_is_added_and_bounds_hold() -> None:
    assert target([Demand(10, 100.0), Demand(10, 100.0)], 1, 0, 10, 0.0) == 4
    assert target([], 1, 2, 10, 0.0) == 2
    assert target([MUCH], 1, 2, 7, 0.0) == 7


def test_items_of_a_new_task_that_soon_end_do_not_fill_the_cluster_and_long_ones_do() -> None:
    here = site(0, 10)
    here.busy = {"c-1"}
    here.demand = lambda: Demand(400, 0.0, 400) if here.now < 9 else Demand(400, 100.0)
    here.run(40)
    assert len(here.submits) == 2
    here = site(0, 10)
    here.busy = {"c-1"}
    here.demand = lambda: Demand(400, 0.0, 400)
    here.run(40)
    assert len(here.submits) == 10


# -- growing and shrinking ---------------------------------------------------------------------------


def test_jobs_are_asked_for_in_no_burst() -> None:
    here = site(0, 100)
    here.demand = lambda: MUCH
    here.run(1)
    assert len(here.submits) == BURST
    here.run(9)
    assert len(here.submits) <= BURST + 6
    here.run(300)
    assert len(here.submits) == 100


@pytest.mark.parametrize("processes", [1, 4])
def test_five_minutes_of_steady_work_submit_each_job_once_and_cancel_none(processes: int) -> None:
    """Dask's adaptive loop counts workers, and jobs have several: it submitted and cancelled for ever."""
    here = site(0, 6, cores=processes, wait=20.0, processes=processes)
    here.demand = lambda: Demand(24 * processes, 600.0 * processes)
    here.busy = {f"c-{n}" for n in range(1, 7)}
    here.run(300)
    assert (len(here.submits), here.cancels, here.drains) == (6, [], [])


def test_work_that_comes_and_goes_does_not_flap() -> None:
    """A map each 20 seconds: what is wanted changes 30 times in 5 minutes, what is there does not."""
    here = site(0, 6, wait=3.0)
    here.demand = lambda: Demand(100, 1000.0) if here.now % 20 < 10 else NOTHING
    here.run(300)
    assert (len(here.submits), here.cancels, here.drains) == (6, [], [])


def test_idle_jobs_go_after_a_while_and_the_minimum_stays() -> None:
    here = site(1, 6)
    here.demand = lambda: Demand(100, 1000.0) if here.now < 100 else NOTHING
    here.run(100 + IDLE_SECONDS)
    assert here.drains == []
    here.run(10)
    assert len(here.drains) == 5
    here.run(300)
    assert len(here.jobs) == 1
    assert len(here.submits) == 6


def test_busy_jobs_stay_while_idle_ones_go() -> None:
    here = site(0, 4)
    here.demand = lambda: Demand(100, 1000.0) if here.now < 100 else Demand(1, 1000.0)
    here.run(100)
    here.busy = {"c-1", "c-3"}
    here.run(300)
    assert sorted(here.jobs) == ["c-1", "c-3"]


def test_jobs_that_wait_go_before_those_that_run() -> None:
    here = site(0, 4)
    here.demand = lambda: Demand(2, 1000.0)
    here.run(30)
    here.wait = 1e9
    here.demand = lambda: MUCH if here.now < 60 else Demand(2, 1000.0)
    here.jobs = {name: begun - 2e9 for name, begun in here.jobs.items()}  # these two run
    here.run(40)
    assert len(here.jobs) == 4
    here.run(200)
    assert here.cancels == ["c-4", "c-3"]
    assert here.drains == []


def test_a_job_that_has_the_only_copy_of_values_stays_for_a_while() -> None:
    here = site(0, 1)
    here.demand = lambda: MUCH if here.now < 60 else NOTHING
    here.run(60)
    [job] = here.fleet.jobs.values()
    here.run(IDLE_SECONDS + 2)
    assert here.drains == ["c-1"]
    here.fleet.jobs[job.name] = job
    here.jobs[job.name] = -1e9
    here.fleet.keep(job, here.now)
    here.run(IDLE_SECONDS - 2)
    assert here.drains == ["c-1"]
    here.run(5)
    assert here.drains == ["c-1", "c-1"]


def test_a_user_who_says_how_many_does_not_wait_and_busy_jobs_drain() -> None:
    here = site(4, 4)
    here.run(20)
    here.busy = {"c-2", "c-3", "c-4"}
    here.fleet.want(1, 1)
    here.run(2)
    assert len(here.drains) == 3
    assert here.drains[0] == "c-1", "the idle one first"
    here.fleet.want(3, 3)
    here.run(20)
    assert len(here.jobs) == 3


# -- what dies ---------------------------------------------------------------------------------------


def test_a_job_that_loses_its_workers_is_replaced() -> None:
    here = site(2, 2)
    here.run(20)
    here.kill("c-1")
    here.run(LOST_SECONDS - 2)
    assert len(here.submits) == 2, "a nanny may bring its worker back"
    here.run(5)
    assert len(here.submits) == 3
    assert here.cancels == ["c-1"], "what may be left of it is ended"
    assert here.fleet.lost_count == 1


def test_a_lost_job_that_the_queue_has_seen_end_is_replaced_at_once() -> None:
    here = site(2, 2)
    here.run(20)
    here.kill("c-1")
    here.run(2)
    here.fleet.looked(here.look(), asked=here.now, now=here.now)
    here.run(1)
    assert len(here.submits) == 3


def test_an_answer_of_the_queue_says_nothing_of_jobs_that_came_after_the_question() -> None:
    here = site(1, 1, wait=1e9)
    here.run(10)
    here.fleet.looked({}, asked=-1.0, now=here.now)
    assert len(here.fleet.jobs) == 1


def test_workers_that_come_back_in_time_keep_their_job() -> None:
    here = site(1, 1)
    here.run(20)
    begun = here.jobs.pop("c-1")
    here.run(LOST_SECONDS - 5)
    here.jobs["c-1"] = begun
    here.run(100)
    assert (len(here.submits), here.cancels) == (1, [])


def test_a_job_near_its_walltime_is_left_and_another_one_comes() -> None:
    here = Site(Fleet("c", 1, 1, 1, leave_after=lambda: 600.0))
    here.run(700)
    assert here.drains == ["c-1"]
    assert list(here.jobs) == ["c-2"]


# -- what never comes --------------------------------------------------------------------------------


def test_refused_jobs_are_tried_again_later_and_then_given_up() -> None:
    here = site(5, 5)
    here.refusing = "invalid account"
    here.run(1)
    assert len(here.submits) == 5, "they were asked for together"
    here.run(300)
    assert len(here.submits) == 5
    assert "invalid account" in here.fleet.trouble(here.now)
    here.refusing = ""
    here.fleet.want(2, 2)  # the user has mended it
    here.run(20)
    assert (here.fleet.trouble(here.now), len(here.jobs)) == ("", 2)


def test_a_queue_that_does_not_answer_is_asked_again_and_again() -> None:
    """Its server restarts: that is no reason to give up, and none to ask each second."""
    here = site(3, 3)
    here.silent = True
    here.run(600)
    assert here.fleet.trouble(here.now) == ""
    assert len(here.submits) < 20
    here.silent = False
    here.run(120)
    assert len(here.jobs) == 3


def test_jobs_that_end_before_a_worker_came_are_counted_and_the_reason_is_told() -> None:
    here = site(1, 1, wait=1e9)
    for _ in range(HOPELESS):
        here.run(70)
        here.fleet.looked(here.look("ended", "failed; its log ends with 'no module'"), here.now, here.now)
        here.jobs.clear()
    assert "no module" in here.fleet.trouble(here.now)
    before = len(here.submits)
    here.run(300)
    assert len(here.submits) == before == HOPELESS


def test_one_worker_forgives_bad_starts() -> None:
    here = site(2, 2)
    here.run(20)
    here.wait = 1e9
    here.kill("c-1")
    here.jobs["c-2"] -= 2e9  # it has its worker
    for _ in range(HOPELESS + 1):
        here.run(400)
        here.fleet.looked(here.look(), here.now, here.now)
        here.jobs = {"c-2": here.jobs["c-2"]}
    assert here.fleet.trouble(here.now) == "", "the other job works"
    assert len(here.submits) >= HOPELESS + 2, "it is tried again, at long intervals"


def test_a_job_that_runs_and_brings_no_worker_is_given_up() -> None:
    here = site(1, 1, wait=1e9)
    here.run(2)
    here.fleet.looked(here.look("running"), here.now, here.now)
    here.run(JOIN_SECONDS + 2)
    assert here.cancels == ["c-1"]
    assert len(here.submits) == 2


def test_a_queue_that_will_never_start_a_job_is_told_and_so_is_patience() -> None:
    here = site(1, 1, wait=1e9, patience=100.0)
    here.run(10)
    assert here.fleet.trouble(here.now, {"id-c-1": "no node of that size"}) == "no job can start: no node of that size"
    assert here.fleet.trouble(here.now, {}) == ""
    here.fleet.looked(here.look("queued", "other jobs come first"), here.now, here.now)
    here.run(100)
    assert here.fleet.trouble(here.now) == "no worker came within 100 s: other jobs come first"


def test_without_work_patience_does_not_end() -> None:
    here = site(0, 1, patience=100.0)
    here.run(1000)
    assert here.fleet.trouble(here.now) == ""
