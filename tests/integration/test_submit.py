"""`anabranch submit`: one job has the whole run in it, and the record knows the run from its first moment on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch.cli import cli, jobs

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.timeout(180), pytest.mark.sampled(4, "jobs of Slurm, or Pythons, for each")]
REPOSITORY = Path(__file__).resolve().parents[2]
MAIN = [sys.executable, "-P", "-m", "anabranch"]
# As often as on a bed of our own.
QUICK = [sys.executable, "-c", "import sys; from anabranch.cli import jobs, main; jobs.every = 0.5; main(sys.argv[1:])"]
DEADLINE = 100.0
FLOWS = """
import os
import time
from pathlib import Path
from anabranch import flow, task

@task
def square(x):
    return x * x

@flow(runner="thread")
def squares(n: int = 5):
    print("sum", sum(square.map(range(n)).results()))

@task
def noted(x, folder):
    with open(f"{folder}/began", "a") as file:
        file.write(f"{x}\\n")
    while x >= 5 and not os.path.exists(f"{folder}/go"):
        time.sleep(0.02)

@flow(runner="process")
def notes(folder: str):
    noted.map(range(40), folder, chunk=1).wait()  # items behind one that waits at the gate would wait with it

@flow(runner="thread")
def wrong():
    raise ValueError("no good")

@flow(runner="thread", log_prints=True)
def gated(gate: Path):
    print("before the gate")
    print("through the gate", gate.read_text())
"""


@pytest.fixture(params=["process", pytest.param("slurm", marks=pytest.mark.slurm)])
def kind(request: pytest.FixtureRequest, home: Path) -> str:
    if request.param == "slurm":
        request.getfixturevalue("slurm")
    return str(request.param)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(jobs, "every", 0.5)  # the bed is ours alone
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text(FLOWS)
    return tmp_path / "home"


def run(*args: str, code: int | None = 0) -> str:
    done = subprocess.run([*MAIN, *args], capture_output=True, text=True, timeout=DEADLINE)
    if code is not None:
        assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def submitted(*args: str) -> str:
    """Submit a run; returns its name."""
    found = re.match(r"run (\S+) is submitted", run("submit", *args))
    assert found
    return found[1]


def told(*args: str) -> str:
    """What a command that only reads says; it looks at queues more often than one that is typed would."""
    return CliRunner().invoke(cli, args).output


def shown(name: str, words: str) -> str:
    """What `run show` says of a run, once these words are in it."""
    until = time.monotonic() + DEADLINE
    while words not in (text := told("run", "show", name)):
        assert time.monotonic() < until, text
        time.sleep(0.3)
    return text


def test_a_run_is_submitted_and_waited_for(kind: str, home: Path) -> None:
    text = run("submit", kind, "flows.py:squares", "-p", "n=7", "--time", "10", "--wait")
    name = re.search(r"run (\S+) is submitted", text)[1]  # type: ignore[index]
    assert f"run {name} ended as Completed" in text
    assert "Completed" in told("runs")
    text = shown(name, f"{kind} ")
    assert "parameters  n=7" in text
    folder = next((home / "jobs").glob(f"squares-{name}-*"))
    assert str(folder) in text
    assert "sum 91" in (folder / "log").read_text()
    assert sum(path.is_file() for path in home.rglob("*")) < 20


def test_a_job_finds_its_run_where_records_lie_on_nodes(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The submitting program's record goes home before the job starts, and each program reads the others' copies."""
    monkeypatch.setenv("ANABRANCH_RECORDS_SHARED", "node")
    text = run("submit", kind, "flows.py:squares", "-p", "n=7", "--time", "10", "--wait")
    assert " ended as Completed" in text
    assert all(path.name.endswith(".copy.db") for path in (home / "records.db.d").glob("*.db"))
    assert "Completed" in told("runs")


def test_a_run_that_fails_is_told_by_its_exit_code(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a login node, where this command may not live as long as the run."""
    monkeypatch.setenv("ANABRANCH_LOGIN_NODE", "true")
    text = run("submit", kind, "flows.py:wrong", "--wait", code=1)
    assert "exception: ValueError: no good" in text
    assert "and this command waits for the run's end: the job goes on without it, and `anabranch run logs -f " in text


def test_a_dry_run_shows_the_script_and_leaves_nothing(kind: str, home: Path) -> None:
    words = ["--prologue", "module load cuda", "--nodes", "2", "--cpus", "2"]
    text = run("submit", kind, "flows.py:squares", "--dry-run", *words)
    assert text.startswith("#!/bin/bash -l\n")
    assert "\nmodule load cuda\n" in text
    assert text.splitlines()[-1].startswith(f"exec {sys.executable} -P -m anabranch ")
    assert ("#SBATCH --nodes=2" in text) == (kind == "slurm")
    assert not home.exists()


def test_a_job_that_gets_one_processor_a_node_is_warned_of(home: Path) -> None:
    words = ["submit", "slurm", "flows.py:squares", "--nodes", "2", "--dry-run"]
    warning = "warning: Slurm gives one processor a node: --cpus N, or --option=--exclusive\n"
    assert warning in CliRunner().invoke(cli, words).stderr
    for enough in (["--cpus", "2"], ["--option=--exclusive"]):
        assert CliRunner().invoke(cli, [*words, *enough]).stderr == ""
    assert CliRunner().invoke(cli, ["submit", "process", *words[2:]]).stderr == ""


def test_a_job_that_ends_before_its_flow_began_is_recorded_with_its_reason(kind: str) -> None:
    name = submitted(kind, "flows.py:squares", "--prologue", "echo no such module; exit 9")
    text = shown(name, "Crashed")
    assert "state       Crashed: the job ended before the flow began: exit 9, last lines: no such module" in text
    assert "anabranch.job - no such module" in told("run", "logs", name)
    assert "Crashed" in told("runs")


def test_whoever_waits_for_a_job_that_never_begins_its_flow_is_told(kind: str) -> None:
    words = ["submit", kind, "flows.py:squares", "--prologue", "exit 127", "--wait"]
    done = subprocess.run([*QUICK, *words], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1
    told = "ended as Crashed: the job ended before the flow began: exit 127: the command was not found"
    assert told in done.stderr


def test_lines_are_followed_until_the_run_ends(kind: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    name = submitted(kind, "flows.py:gated", "-p", f"gate={gate}")
    follower = subprocess.Popen([*MAIN, "run", "logs", "-f", name], stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    with follower, follower.stdout as lines:
        assert any("before the gate" in line for line in lines)
        gate.write_text("open")
        assert any("through the gate open" in line for line in lines)
        list(lines)
        assert follower.wait(DEADLINE) == 0
    assert "Completed" in shown(name, "Completed")


@pytest.mark.slurm
def test_a_waiting_run_tells_why_and_its_cancel_is_its_jobs(slurm: str, home: Path) -> None:
    name = submitted("slurm", "flows.py:squares", "--option=--hold", "--name", "held.back")
    assert name == "held.back"
    text = shown(name, "JobHeldUser")
    assert "state       Scheduled" in text
    assert "pending: JobHeldUser: it is held: `scontrol release` lets it go" in text
    assert "Scheduled" in told("runs")  # and not dead, without a driver
    again = run("submit", "slurm", "flows.py:wrong", "--name", name, code=1)
    assert "there is a job of a run 'held.back' already" in again
    job = next((home / "jobs").glob("held.back-??????")).name  # other jobs of that name may be in the queue
    assert jobs_of(job)
    assert "cancelled, and so is its job" in run("run", "cancel", name)
    assert "Cancelled" in told("runs")
    left = subprocess.run(["squeue", "-h", "-n", job, "-o", "%T"], capture_output=True, text=True)
    assert left.stdout == ""
    assert "has already ended as Cancelled" in run("run", "cancel", name, code=1)


# A queue that answers after the run was cancelled by another program.
LATE = """
import subprocess, sys
from anabranch.cli import jobs, main
from anabranch.core.launching import Reference

class Late:
    def render(self, job):
        return ""
    def start(self, job):
        subprocess.run([sys.executable, "-P", "-m", "anabranch", "run", "cancel", "late"], check=True)
        return Reference("slurm", "17", job.name, str(job.folder))
    def cancel(self, reference):
        print("cancelled:", reference.id, flush=True)

jobs.launcher = lambda kind, without=(): Late()
main(sys.argv[1:])
"""


def test_a_run_that_is_cancelled_while_its_job_is_handed_over_is_not_begun(home: Path) -> None:
    words = ["submit", "slurm", "flows.py:squares", "--name", "late"]
    done = subprocess.run([sys.executable, "-c", LATE, *words], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1, done.stderr
    assert "'late' is cancelled, and its job was not handed over yet: one that its queue takes after" in done.stdout
    assert "cancelled: 17" in done.stdout
    assert "run late has ended as Cancelled meanwhile: its job is cancelled" in done.stderr
    folder = next((home / "jobs").glob("late-*"))
    text = run("pilot", "flows.py:squares", "--job", str(folder), code=1)  # as in a job that began all the same
    assert "flow run 'late' has ended as Cancelled before this job began it: submit it again" in text
    assert "Cancelled" in told("run", "show", "late")
    assert "sum" not in text


@pytest.mark.slurm
def test_a_job_that_can_never_begin_tells_so(slurm: str, home: Path) -> None:
    """Slurm takes it, and lets it wait for ever."""
    name = submitted("slurm", "flows.py:squares", "--nodes", "900")
    assert "no node of the partition has so much: cancel it, and ask for less" in shown(name, "PartitionConfig")


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--option=--partition=nope"], r"invalid partition specified: nope.*`sinfo -s` lists the partitions"),
        (["--memory", "1TiB"], r"(?i)memory specification can not be satisfied.*ask for less --memory"),
        (["--option=--begin=never"], r"(?i)invalid --begin"),
        (["--option=--no-such"], r"unrecognized option.*--no-such.*`sbatch --help`"),
        (["--gpus", "2"], r"(?i)generic resource|gres|node configuration"),
        (["--option=--array=1-3"], r"--array cannot be given"),
    ],
)
def test_what_slurm_refuses_is_told_with_the_way_out_and_recorded(
    slurm: str, home: Path, words: list[str], message: str
) -> None:
    text = run("submit", "slurm", "flows.py:squares", *words, code=1)
    assert re.search(message, text), text
    told_lines = [line for line in text.splitlines() if not line.startswith("warning: ")]
    assert told_lines[1:] == ["(`anabranch explain LaunchError` says more)"]  # after one sentence, and no trace
    if "--array" not in words[0]:
        name = told("runs").splitlines()[1].split()[0]
        assert "Crashed: no job was started: " in told("run", "show", name)


@pytest.mark.parametrize(
    ("said", "way"),
    [
        ("Invalid account or account/partition combination specified", "`sacctmgr show assoc user=$USER` lists your "),
        ("Disk quota exceeded", "your quota is full: `quota -s` tells; `anabranch records compact` gives room back"),
    ],
)
def test_a_refusal_that_no_bed_gives_is_told_with_the_way_out_and_recorded(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, way: str
) -> None:
    """By commands of our own that print Slurm's words: a bed has no accounts, and its disk is not full."""
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, line in (("sbatch", f"echo 'sbatch: error: Batch job submission failed: {said}' >&2; exit 1"),
                       ("scontrol", "exit 1"), ("squeue", "exit 0")):  # fmt: skip
        (shims / name).write_text(f"#!/bin/sh\n{line}\n")
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:{os.environ['PATH']}")
    text = run("submit", "slurm", "flows.py:squares", "--cpus", "1", code=1)
    assert f"Slurm does not take the job: Batch job submission failed: {said}. " in text
    assert way.lower() in text.lower()
    told_lines = [line for line in text.splitlines() if not line.startswith("warning: ")]
    assert told_lines[1:] == ["(`anabranch explain LaunchError` says more)"]  # after one sentence, and no trace
    name = told("runs").splitlines()[1].split()[0]
    assert f"Crashed: no job was started: Slurm does not take the job: Batch job submission failed: {said}" in told(
        "run", "show", name
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["flows.py:square"], "is not a flow but a Task"),
        (["flows.py:squares", "-p", "n=many"], "n: got 'many'"),
        (["flows.py:squares", "-p", "m=1"], "has no parameter 'm'; there are: n"),
        (["flows.py:squares", "--time", "1:30"], "must be 90 (minutes), 1:30:00, 2-12:00:00 or 2h, got '1:30'"),
        (["flows.py:squares", "--time", "0"], "2h, got '0'"),
        (["flows.py:squares", "--memory", "much"], "must be a size"),
        (["flows.py:squares", "--name", "a b"], "'a b-"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(home: Path, words: list[str], message: str) -> None:
    assert message in run("submit", "process", *words, code=None)
    assert not (home / "jobs").exists()


def test_a_machine_without_slurm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    text = run("submit", "slurm", "flows.py:squares", code=1)
    assert "sbatch cannot be called here: No such file or directory: is this a machine of the cluster" in text


@pytest.mark.slurm
def test_a_run_that_another_job_goes_on_with_is_waited_for_to_its_end(slurm: str, home: Path, tmp_path: Path) -> None:
    words = ["submit", "slurm", "flows.py:notes", "-p", f"folder={tmp_path}", "--name", "two-jobs", "--cpus", "2"]
    words += ["--wait", "--option=--no-requeue"]
    with subprocess.Popen([*QUICK, *words], stdout=subprocess.PIPE, text=True) as waiting, ExitStack() as stack:
        stack.callback(waiting.kill)  # else a failure here would wait for its end
        until = time.monotonic() + DEADLINE
        began = tmp_path / "began"
        while not began.exists() or len(began.read_text().split()) < 7:
            assert time.monotonic() < until
            time.sleep(0.05)
        folder = next((home / "jobs").glob("two-jobs-*"))
        first = jobs_of(folder.name)
        subprocess.run(["scancel", "--batch", "--signal=USR1", *first], check=True)
        while "The walltime is near" not in (folder / "log").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        (tmp_path / "go").touch()
        out, _ = waiting.communicate(timeout=DEADLINE)
    assert waiting.returncode == 0
    assert "ended as Completed" in out
    assert sorted(map(int, began.read_text().split())) == list(range(40))  # none began twice
    second = jobs_of(folder.name) - first
    assert len(second) == 1
    assert f"slurm {second.pop()}" in told("run", "show", "two-jobs")


def jobs_of(name: str) -> set[str]:
    words = ["squeue", "-t", "all", "-h", "-n", name, "-o", "%i"]
    return set(subprocess.run(words, capture_output=True, text=True).stdout.split())


@pytest.mark.slurm
def test_ten_looks_at_the_record_ask_the_queue_once(slurm: str, home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Each call of a command is one request to the controller; sites take four a minute."""
    real = {name: shutil.which(name) for name in ("sbatch", "squeue", "scontrol", "scancel", "sinfo")}
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, path in real.items():
        (shims / name).write_text(f'#!/bin/sh\necho {name} >>{tmp_path}/asked\nexec {path} "$@"\n')
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:{os.environ['PATH']}")
    names = [submitted("slurm", "flows.py:squares", "--option=--hold") for _ in range(2)]
    for _ in range(3):
        run("runs")
        for name in names:
            run("run", "show", name)
    assert (tmp_path / "asked").read_text().split() == [*["scontrol", "sbatch"] * 2, "squeue"]


@pytest.mark.slurm
def test_a_job_may_submit_another(slurm: str, home: Path, tmp_path: Path) -> None:
    """With the outer one's variables a step of the inner one has memory a node and a processor, and fails."""
    words = [*MAIN, "submit", "slurm", "flows.py:squares", "--name", "inner", "--cpus", "1"]
    words += ["--option=--mem-per-cpu=50M", "--prologue", '[ -z "$SLURM_MEM_PER_NODE" ] || exit 5']
    script = f"#!/bin/bash\nexec {shlex.join(words)}\n"
    words = ["sbatch", "--wait", "-o", "outer.log", "--cpus-per-task=2", "--mem=100M"]
    done = subprocess.run(words, input=script, text=True, capture_output=True, timeout=DEADLINE)
    log: Callable[[], str] = (tmp_path / "outer.log").read_text
    assert done.returncode == 0, log()
    assert "run inner is submitted: slurm job " in log()
    shown("inner", "Completed")
    job = next((home / "jobs").glob("inner-*")).name
    found = subprocess.run(["squeue", "-t", "all", "-h", "-n", job, "-o", "%C"], capture_output=True, text=True)
    assert found.stdout.strip() == "1"
