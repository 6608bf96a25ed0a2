"""Tasks of a flow in a Slurm job start steps of several ranks: on processors of their own, and ended with the task."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.pilot.conftest import mine, until

if TYPE_CHECKING:
    from tests.integration.pilot.conftest import Jobs

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300), pytest.mark.sampled(7, "jobs of Slurm and their steps")]
ALL = ["--ntasks=1", "--cpus-per-task=4"]


def ran(jobs: Jobs) -> list[list[str]]:
    found: list[list[str]] = json.loads((jobs.folder / "out").read_text())
    return found


def steps_of(job: str) -> list[str]:
    """The steps of a job that Slurm knows, without that of its script."""
    done = subprocess.run(["squeue", "-h", "-s", "-j", job, "-o", "%i"], capture_output=True, text=True, check=True)
    return [step for step in done.stdout.split() if step.rpartition(".")[2].isdigit()]


def begun(folder: Path) -> list[str]:
    """The ranks that have begun."""
    return sorted(file.name for file in folder.glob("?-?"))


EXPECTED = [[f"{case} rank {rank} of 3 on 1" for rank in range(3)] for case in "ab"]


def test_a_task_starts_ranks_and_has_their_lines(jobs: Jobs) -> None:
    job = jobs.submit(jobs.pilot("stepped", "-p", f"out={jobs.folder}/out"), *ALL)
    jobs.completed(job)
    assert ran(jobs) == EXPECTED
    assert "Task run 'ranks[0]' - a rank 2 of 3 on 1" in jobs.log(job)


@pytest.mark.dask
def test_a_worker_that_lives_in_a_step_of_the_pilot_starts_another(jobs: Jobs) -> None:
    """Dask's workers are in a step that holds the job's processors: an inner one must not wait for them."""
    line = jobs.pilot("stepped", "-p", f"out={jobs.folder}/out", "--runner", "dask")
    job = jobs.submit(line, "--ntasks=2", "--cpus-per-task=2")
    jobs.completed(job)
    assert ran(jobs) == EXPECTED


def test_a_pilot_under_the_users_own_srun_starts_steps_beside_itself(jobs: Jobs) -> None:
    line = jobs.pilot("stepped", "-p", f"out={jobs.folder}/out", "--runner", "process", srun="--ntasks=1")
    job = jobs.submit(line, *ALL)
    jobs.completed(job)
    assert [[line.partition(" on ")[0] for line in lines] for lines in ran(jobs)] == [
        [line.partition(" on ")[0] for line in lines] for lines in EXPECTED
    ]


def test_two_steps_run_side_by_side_and_the_third_waits_for_slurm(jobs: Jobs) -> None:
    folder, gate = jobs.folder / "begun", jobs.folder / "gate"
    folder.mkdir()
    words = ["-p", f"folder={folder}", "-p", f"gate={gate}", "-p", "cpus=0"]
    job = jobs.submit(jobs.pilot("side_by_side", *words), *ALL)
    until(lambda: len(begun(folder)) >= 4 and len(list(folder.glob("item*"))) == 3, jobs.log, job)
    assert len(steps_of(job)) == 2
    gate.touch()
    jobs.completed(job)
    changes = [1 if line == "+" else -1 for line in Path(f"{gate}.log").read_text().split()]
    assert max(itertools.accumulate(changes)) == 4  # ranks at once
    assert begun(folder) == [f"{case}-{rank}" for case in range(3) for rank in range(2)]


def test_with_cpus_the_third_is_not_even_started(jobs: Jobs) -> None:
    folder, gate = jobs.folder / "begun", jobs.folder / "gate"
    folder.mkdir()
    words = ["-p", f"folder={folder}", "-p", f"gate={gate}", "-p", "cpus=2"]
    job = jobs.submit(jobs.pilot("side_by_side", *words), *ALL)
    until(lambda: len(begun(folder)) == 4 and (folder / "beside").exists(), jobs.log, job)
    assert len(list(folder.glob("item*"))) == 2
    gate.touch()
    jobs.completed(job)
    assert len(begun(folder)) == 6


def test_a_time_limit_ends_the_step_on_its_nodes(jobs: Jobs) -> None:
    folder = jobs.folder / "begun"
    folder.mkdir()
    words = ["-p", f"folder={folder}", "-p", f"gate={jobs.folder}/never"]
    line = jobs.pilot("timed", *words).removeprefix("exec ")
    gate = jobs.folder / "gate"
    job = jobs.submit(f"{line}\nwhile [ ! -e {gate} ]; do sleep 0.2; done", *ALL)
    until(lambda: begun(folder) and not steps_of(job) and not mine(f"{jobs.folder}/never"), jobs.log, job)
    assert jobs.state(job) == "RUNNING"  # so it was not the job's end that took the step along
    gate.touch()
    jobs.ended(job)


def test_a_rank_that_fails_is_told_with_its_code(jobs: Jobs) -> None:
    job = jobs.submit(jobs.pilot("failing"), *ALL)
    jobs.ended(job)
    assert "sh (2 ranks by srun) ended with code " in jobs.log(job)
    assert "from 0" in jobs.log(job)
