"""`anabranch submit slurm --pilots N`: one flow on several jobs of a real Slurm, which join and leave while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from anabranch.cli import cli, jobs

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.dask,
    pytest.mark.timeout(300),
    pytest.mark.sampled(4, "jobs of Slurm for each"),
]
REPOSITORY = Path(__file__).resolve().parents[2]
MAIN = [sys.executable, "-P", "-m", "anabranch"]
DEADLINE = 200.0
N = 12
JOINED = 5.0  # seconds from the begin of a pilot's job to its first item
FLOWS = """
import os
import time
from anabranch import flow, task

def spent():
    # Processor seconds of this process and of those that it comes from, up to Slurm's own.
    found, pid = 0.0, os.getpid()
    while True:
        with open(f"/proc/{pid}/stat") as file:
            name, _, rest = file.read().rpartition(")")
        if "(slurm" in name:
            return found
        words = rest.split()
        pid, found = int(words[1]), found + (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

@task
def item(x, folder):
    with open(f"{folder}/began", "a") as file:
        file.write(f"{x} {os.environ.get('SLURM_ARRAY_TASK_ID', 0)} {time.time()} {spent()}\\n")
    waits = True
    while waits:
        time.sleep(0.02)
        waits = not any(os.path.exists(f"{folder}/{gate}") for gate in ("go", f"go-{x}"))
    return x * x

@flow
def gated(folder: str, n: int = 12):
    print("sum", sum(item.map(range(n), folder, chunk=1).result()))

@flow(runner="ray")
def on_ray():
    pass

@flow(runner="process")
def plain():
    pass
"""


class Place:
    """A folder with a home, flows and a gate; and the jobs that are submitted there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"

    def submit(self, *words: str, name: str = "shared", pilots: int = 3, params: tuple[str, ...] = ()) -> str:
        """Submit the flow with a gate; returns the name of its jobs."""
        given = [word for text in (f"folder={self.folder}", *params) for word in ("-p", text)]
        size = ["--pilots", str(pilots), "--cpus", "1", "--time", "10", "--name", name]
        text = run("submit", "slurm", "flows.py:gated", *given, *size, *words)
        assert f"on Dask, which pilots 1 to {pilots - 1} join" in text
        return next((self.home / "jobs").glob(f"{name}-??????")).name

    def log(self, job: str) -> str:
        return (self.home / "jobs" / job / "log").read_text()

    def began(self) -> list[tuple[int, int, float, float]]:
        """Items with the pilot that each began on, 0 for the first job; when; and what its way there had cost."""
        try:
            lines = (self.folder / "began").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(int(x), int(pilot), float(at), float(cost)) for x, pilot, at, cost in (line.split() for line in lines)]

    def open(self) -> None:
        (self.folder / "go").touch()

    def on(self, *pilots: int) -> Callable[[], bool]:
        """Whether items have begun on all of these."""
        return lambda: {pilot for _, pilot, *_ in self.began()} >= set(pilots)


@pytest.fixture
def place(slurm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANABRANCH_PROGRESS", "false")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(jobs, "every", 0.5)  # the bed is ours alone
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text(FLOWS)
    return Place(tmp_path)


def run(*args: str, code: int = 0) -> str:
    done = subprocess.run([*MAIN, *args], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def told(*args: str) -> str:
    return CliRunner().invoke(cli, args).output


def slurm_says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def states(name: str) -> dict[str, str]:
    """The jobs of this name with their states, each of an array by its own."""
    lines = slurm_says("squeue", "-h", "-r", "-t", "all", "-n", name, "-o", "%i %T").splitlines()
    return dict(line.split() for line in lines)


def live(name: str) -> set[str]:
    return {state for state in states(name).values() if state in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")}


def one(name: str) -> str:
    """The id of the one job of this name, or of an array."""
    [found] = {id.partition("_")[0] for id in states(name)}
    return found


def until(true: Callable[[], object], *what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, [say() for say in what]
        time.sleep(0.1)


def completed(place: Place, job: str, n: int = N) -> None:
    """The run ends with the right result, and so do all of its jobs."""
    until(lambda: not live(job) and not live(f"{job}-pilots"), lambda: place.log(job), lambda: told("runs"))
    assert f"sum {sum(x * x for x in range(n))}" in place.log(job)
    assert "Completed" in told("runs")
    assert {x for x, *_ in place.began()} == set(range(n))


def test_a_pilot_that_joins_late_gets_work_and_one_that_waits_is_cancelled(place: Place) -> None:
    note = f"date +%s.%N > {place.folder}/start-${{SLURM_ARRAY_TASK_ID:-0}}"
    job = place.submit("--option=--hold", "--prologue", note)
    slurm_says("scontrol", "release", one(job))
    until(place.on(0), lambda: place.log(job))
    text = told("run", "show", "shared")
    assert "pilots      1 of 3 are there" in text
    slurm_says("scontrol", "release", f"{one(f'{job}-pilots')}_2")
    until(place.on(0, 2), lambda: place.log(job))
    at, cost = next((at, cost) for _, pilot, at, cost in place.began() if pilot == 2)
    late = at - float((place.folder / "start-2").read_text())
    print(f"a pilot's first item after {late:.1f} s, of which {cost:.1f} s are of a processor")
    assert cost < JOINED, "processor time: programs beside this one do not count; unit/clusters has what it waits"
    assert "2 of 3 are there" in told("run", "show", "shared")
    place.open()
    completed(place, job)
    assert states(f"{job}-pilots") == {} or set(states(f"{job}-pilots").values()) == {"CANCELLED", "COMPLETED"}
    assert "pilot 2 (job " in told("run", "logs", "shared")
    assert sum(path.is_file() for path in place.home.rglob("*")) < 20


@pytest.mark.nightly("three jobs; by day one test has pilots that come and go")
def test_nothing_is_lost_with_a_pilot_that_is_cancelled(place: Place) -> None:
    job = place.submit()
    until(place.on(0, 1, 2), lambda: place.log(job))
    slurm_says("scancel", f"{one(f'{job}-pilots')}_1")
    until(lambda: "pilot 1 (job" in place.log(job) and "has left; 2 of 3 are there" in place.log(job), place.began)
    place.open()
    completed(place, job)
    twice = len(place.began()) - N
    assert twice <= 1  # what the cancelled one had begun, if anything


@pytest.mark.nightly("a job that starts twice")
@pytest.mark.parametrize("end", ["requeue", "walltime"])
def test_a_later_start_of_the_driver_finds_its_pilots(place: Place, end: str) -> None:
    job = place.submit()
    until(place.on(0, 1, 2), lambda: place.log(job))
    first = one(job)
    if end == "requeue":
        slurm_says("scontrol", "requeue", first)
    else:  # as Slurm tells a job of its end; the driver suspends the run, and has its job started again
        slurm_says("scancel", "--batch", "--signal=USR1", first)
    until(lambda: states(job)[first] == "PENDING", lambda: place.log(job))
    assert set(states(f"{job}-pilots").values()) == {"RUNNING"}
    # Not at once: a node refuses a job that is started again within the second of its end; Slurm waits two minutes.
    slurm_says("scontrol", "update", f"JobId={first}", "StartTime=now+4")
    before = len(place.began())
    until(lambda: {pilot for _, pilot, *_ in place.began()[before:]} >= {1, 2}, lambda: place.log(job))
    place.open()
    completed(place, job)
    assert place.log(job).count("pilot 2 (job") >= 2
    assert len(states(f"{job}-pilots")) == 2  # no others were asked for


@pytest.mark.nightly("three jobs; by day a run that waits is cancelled")
def test_a_cancel_of_the_run_is_one_of_all_jobs(place: Place) -> None:
    job = place.submit(params=("n=5000",))  # a minute of work: the driver notices the cancel within a second
    until(place.on(0, 1, 2), lambda: place.log(job))
    run("run", "cancel", "shared")
    place.open()  # Dask's workers do not stop what they have begun
    until(lambda: not live(job) and not live(f"{job}-pilots"), lambda: place.log(job))
    assert "Cancelled" in told("runs")


@pytest.mark.nightly("three jobs, one of which is killed")
def test_pilots_end_with_a_driver_that_was_killed(place: Place) -> None:
    """One of them asks for the first job, and the others believe it."""
    job = place.submit()
    until(place.on(0, 1, 2), lambda: place.log(job))
    slurm_says("scancel", "--batch", "--signal=KILL", one(job))
    until(lambda: not live(job) and not live(f"{job}-pilots"), lambda: states(f"{job}-pilots"))
    assert "Crashed" in told("runs")


def test_a_cancel_of_a_run_that_waits_is_one_of_all_jobs(place: Place) -> None:
    job = place.submit("--option=--hold")
    assert "pilots      3 asked for" in told("run", "show", "shared")
    assert "cancelled, and so is its job" in run("run", "cancel", "shared")
    until(lambda: not live(job) and not live(f"{job}-pilots"))


@pytest.mark.nightly("the queue is asked after half a minute; what is told has unit tests")
def test_a_pilot_that_fails_is_told_with_its_reason_and_the_run_goes_on(place: Place) -> None:
    job = place.submit("--prologue", 'if [ "$SLURM_ARRAY_TASK_ID" = 2 ]; then echo a bad node; exit 127; fi')
    until(place.on(0, 1), lambda: place.log(job))
    words = "pilot 2 has ended: exit 127: the command was not found, last lines: a bad node"
    until(lambda: words in told("run", "logs", "shared"), lambda: place.log(job))
    place.open()
    completed(place, job)


@pytest.mark.nightly("a job of a minute, and another one in its place")
def test_a_pilot_leaves_before_its_walltime_and_another_takes_its_place(place: Place) -> None:
    """Its items end in time: none begins twice."""
    job = place.submit("--option=--hold", pilots=2)
    array = one(f"{job}-pilots")
    slurm_says("scontrol", "update", f"JobId={array}_1", "TimeLimit=1")
    slurm_says("scontrol", "release", one(job))
    until(place.on(0), lambda: place.log(job))
    slurm_says("scontrol", "release", f"{array}_1")
    until(place.on(0, 1), lambda: place.log(job))
    until(lambda: "leaves: its walltime is near" in place.log(job))
    [first] = [x for x, pilot, *_ in place.began() if pilot == 1]
    (place.folder / f"go-{first}").touch()
    until(lambda: "pilot 1: asked for anew" in place.log(job), lambda: place.log(job))
    [other] = [id for id, state in states(f"{job}-pilots").items() if state == "PENDING"]
    slurm_says("scontrol", "release", other)  # the script says --hold
    until(lambda: [pilot for _, pilot, *_ in place.began()].count(1) == 2, lambda: place.log(job))
    place.open()
    completed(place, job)
    assert len(place.began()) == N


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["slurm", "flows.py:gated", "--pilots", "0"], "0 is not in the range x>=1"),
        (["slurm", "flows.py:gated", "--pilots", "2", "--nodes", "2"], "jobs of one node each: leave --nodes out"),
        (["slurm", "flows.py:gated", "--pilots", "2", "--runner", "process"], "leave --runner process out"),
        (["slurm", "flows.py:on_ray", "--pilots", "2"], "the flow says runner='ray': --runner dask takes the place"),
        (["process", "flows.py:gated", "--pilots", "2"], "--pilots is for slurm alone: leave it out for process"),
        (["pbs", "flows.py:gated", "--pilots", "2"], "--pilots is for slurm alone: leave it out for pbs"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(place: Place, words: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["submit", *words])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not place.home.exists()


def test_more_pilots_than_slurm_lets_an_array_have_leave_no_job(place: Place) -> None:
    text = run("submit", "slurm", "flows.py:plain", "--pilots", "5000", "--option=--hold", "--name", "many", code=1)
    assert "Ask for fewer --pilots" in text
    assert "Crashed: no job was started" in told("run", "show", "many")
    job = next((place.home / "jobs").glob("many-*")).name
    until(lambda: not live(job))


def test_a_dry_run_shows_both_scripts(place: Place) -> None:
    text = run("submit", "slurm", "flows.py:plain", "--pilots", "8", "--dry-run")
    first, _, second = text.partition("\n# 7 pilots join it, as one array:\n")
    assert "--array" not in first
    assert "#SBATCH --array=1-7\n" in second
    assert any(line.endswith(" --join") for line in second.splitlines())  # a warning follows
    assert "--runner dask" in first
    assert not place.home.exists()
