"""Jobs of real Slurm that end before their runs: requeued, cancelled, or followed by another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from anabranch.records.sqlite import SqliteRecords
from tests.faults.pipes import pipe
from tests.faults.test_taken_over import stored
from tests.faults.workers import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow

pytestmark = [pytest.mark.timeout(300), pytest.mark.sampled(3, "a job that starts twice for each")]

ITEMS = 30
HALF = 12
WAIT = 120.0
RESULT = str(3 * sum(range(ITEMS)))
# Items from HALF on wait at the pipe `gate` in the job's first start, and in no other.
FLOWS = f"""
import os
from anabranch import flow, session, task

def start():
    return os.environ.get("SLURM_RESTART_COUNT") or "0"

def first():
    return start() == "0" and "ANABRANCH_JOB_FOLDER" not in os.environ

def note(name, text):
    with open(name, "a") as file:
        file.write(text + "\\n")

@task
def work(x):
    note("began", f"{{start()}} {{x}}")
    if first() and x >= {HALF}:
        open("gate").read()
    note("ended", f"{{start()}} {{x}}")
    return 3 * x

@task
def total(xs):
    return sum(xs)

@flow(resumable=True)
def main():
    note("until", f"{{session.current().settings.walltime_end}} {{os.environ.get('ANABRANCH_WALLTIME_END')}}")
    note("result", str(total.submit(work.map(range({ITEMS}), chunk=1)).result()))
"""


class Job:
    """One job of the bed, in a folder of its own."""

    def __init__(self, folder: Path, *options: str, script: str = "exec {pilot}", **settings: object) -> None:
        self.folder = folder
        (folder / "flows.py").write_text(FLOWS)
        pipe(folder / "gate")
        pilot = f"{sys.executable} -m anabranch pilot flows.py:main --runner process"
        file = folder / "job.sh"
        file.write_text(f"#!/bin/bash\n{script.format(pilot=pilot)}\n")
        environ = {
            **os.environ, "ANABRANCH_HOME": str(folder / "home"), "ANABRANCH_PROGRESS": "0",
            "PYTHONPATH": os.pathsep.join(sys.path),
            **{f"ANABRANCH_{name.upper()}": str(value) for name, value in settings.items()},
        }  # fmt: skip
        words = ["sbatch", "--parsable", "--cpus-per-task=2", "--open-mode=append", "--time=10",
                 f"--output={folder}/log", *options, str(file)]  # fmt: skip
        done = subprocess.run(words, env=environ, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.id = done.stdout.strip()

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> str:
        return "\n".join(self.lines("log"))

    def half(self) -> None:
        """Wait until half of the items have ended, are in the record, and two more wait at the gate."""
        until(lambda: len(self.lines("ended")) == HALF and len(self.lines("began")) == HALF + 2, WAIT)

        def recorded() -> bool:
            [run] = self.runs()
            with closing(SqliteRecords(self.folder / "home" / "records.db")) as records:
                return stored(records, run.id) == set(range(HALF))

        until(recorded, WAIT)

    def state(self, job: str = "") -> tuple[str, int]:
        """What Slurm calls the job's state, and how often it was started again."""
        words = ["squeue", "-h", "-t", "all", "-j", job or self.id, "-O", "State:.30,RestartCnt:.10"]
        found = subprocess.run(words, capture_output=True, text=True).stdout.split()
        return (found[0], int(found[1])) if found else ("", 0)

    def starts_again(self) -> None:
        """Wait until Slurm holds the job back for a while, as it does after a requeue, and end that while."""
        until(lambda: self.state() == ("PENDING", 1), WAIT)
        # Not at once: a node refuses a job whose credential is as old as its last end, in seconds.
        tell("scontrol", "update", f"JobId={self.id}", "StartTime=now+4")

    def follower(self) -> str:
        """Wait until another job was submitted to follow this one; its id."""
        until(lambda: "goes on once job" in self.log, WAIT)
        return self.log.split(" goes on once job")[0].rsplit(" ", 1)[1]

    def ends(self, state: str, job: str = "") -> None:
        until(lambda: self.state(job)[0] in (state, "FAILED", "CANCELLED", "TIMEOUT"), WAIT)
        assert self.state(job)[0] == state, self.log

    def runs(self) -> list[FlowRunRow]:
        with closing(SqliteRecords(self.folder / "home" / "records.db")) as records:
            return records.flow_runs()

    def went_through(self) -> None:
        """The run has completed, with the result of plain Python, and no item that had ended was done again."""
        [run] = self.runs()
        assert run.state_name == "Completed", self.log
        assert self.lines("result") == [RESULT], self.log
        assert Counter(line.split()[1] for line in self.lines("ended")) == Counter(map(str, range(ITEMS)))


def tell(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def requeue(job: Job) -> None:
    tell("scontrol", "requeue", job.id)


def usr1(job: Job) -> None:
    tell("scancel", "--signal=USR1", "--batch", job.id)


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("end", "said"), [(requeue, "the batch system starts the job again"), (usr1, "the job is started again")]
)
def test_a_job_that_is_started_again_goes_on_by_itself(
    tmp_path: Path, end: Callable[[Job], None], said: str
) -> None:
    job = Job(tmp_path, "--requeue", shutdown_grace=0.2, walltime_grace=0.2)
    job.half()
    end(job)
    job.starts_again()
    job.ends("COMPLETED")
    assert said in job.log
    job.went_through()
    assert {line for line in job.lines("ended") if int(line.split()[1]) < HALF} == {f"0 {x}" for x in range(HALF)}


@pytest.mark.usefixtures("slurm")
def test_a_job_that_may_not_be_started_again_is_followed_by_another(tmp_path: Path) -> None:
    asked = ("--no-requeue", f"--job-name=f{os.getpid()}", "--ntasks=1", "--mem=300M")
    job = Job(tmp_path, *asked, shutdown_grace=0.2, walltime_grace=0.2)
    job.half()
    usr1(job)
    other = job.follower()
    job.ends("COMPLETED", other)
    told = subprocess.run(["scontrol", "show", "job", other, "-o"], capture_output=True, text=True).stdout
    assert " MinMemoryNode=300M " in told
    assert " CPUs/Task=2 " in told
    job.went_through()
    ends = [line.split() for line in job.lines("until")]
    assert [variable for _, variable in ends] == ["None", "None"], "jobs submitted from a job would take its end"
    assert ends[0][0] != ends[1][0], "each job has an end of its own"


@pytest.mark.usefixtures("slurm")
def test_a_job_that_a_person_cancels_is_over(tmp_path: Path) -> None:
    job = Job(tmp_path, "--requeue", shutdown_grace=0.2)
    job.half()
    tell("scancel", job.id)
    job.ends("CANCELLED")
    until(lambda: job.runs()[0].ended is not None, WAIT)
    [run] = job.runs()
    assert run.state_name == "Cancelled", job.log
    assert "started again" not in job.log


@pytest.mark.nightly("a walltime is a minute at least, and a requeue waits two")
@pytest.mark.usefixtures("slurm")
def test_a_job_ends_before_its_walltime_by_itself(tmp_path: Path) -> None:
    job = Job(tmp_path, "--requeue", "--time=1")
    job.half()  # the items at the gate end with the walltime, of which nobody tells them
    job.starts_again()
    job.ends("COMPLETED")
    assert "The walltime is over." in job.log
    job.went_through()


@pytest.mark.nightly("a walltime is a minute at least")
@pytest.mark.usefixtures("slurm")
def test_a_job_that_its_walltime_ended_is_followed_by_one_that_has_time(tmp_path: Path) -> None:
    """The end of the first job is over then."""
    job = Job(tmp_path, "--no-requeue", "--time=1")
    job.half()
    job.ends("COMPLETED", job.follower())
    assert job.log.count("goes on once job") == 1, job.log
    job.went_through()
