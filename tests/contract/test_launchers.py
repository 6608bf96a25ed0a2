"""What every launcher promises, on each of them: a child of this machine, real Slurm, a real Kubernetes."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import LaunchError
from anabranch.core.launching import Job, Phase, Reference, Sight
from anabranch.core.processes import host_name
from anabranch.launch.kubernetes import KubernetesLauncher
from anabranch.launch.process import ProcessLauncher, here
from anabranch.launch.slurm import SlurmLauncher
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch.core.launching import Launcher

DEADLINE = 50.0  # seconds; a queue on a busy machine takes its time
ASK = 0.3  # seconds between questions: the bed is ours alone
IMAGE = ("image=any",)  # pods of the bed are processes
_numbers = itertools.count()


BEDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("slurm", "kubernetes")]


@pytest.fixture(params=["process", *BEDS])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    if request.param == "process":
        yield ProcessLauncher()
        return
    request.getfixturevalue(request.param)
    if request.param == "slurm":
        yield SlurmLauncher()
        return
    launcher = KubernetesLauncher()
    yield launcher
    launcher.close()


@pytest.fixture
def job(launcher: Launcher, tmp_path: Path) -> Callable[..., Job]:
    """Make a job that runs a line of shell; a working folder of its own is there, and a folder for the job is not."""

    def made(line: str, **given: Any) -> Job:
        if launcher.kind == "kubernetes":
            given.setdefault("options", IMAGE)
        name = given.pop("name", f"job-{os.getpid()}-{next(_numbers)}")
        cwd = tmp_path / "work"
        cwd.mkdir(exist_ok=True)
        return Job(name, ("/bin/sh", "-c", line), tmp_path / "jobs" / name, cwd, **given)

    return made


@pytest.fixture
def started(launcher: Launcher) -> Iterator[Callable[[Job], Reference]]:
    references = []

    def start(job: Job) -> Reference:
        references.append(launcher.start(job))
        return references[-1]

    yield start
    for reference in references:
        launcher.cancel(reference)


def when(launcher: Launcher, reference: Reference, *phases: Phase) -> Sight:
    """Look until the job is in one of these phases."""
    looked: list[Sight] = []

    def seen() -> bool:
        looked.append(launcher.look([reference])[reference])
        return looked[-1].phase in phases

    until(seen, lambda: looked[-1:], seconds=DEADLINE, pause=ASK)
    return looked[-1]


def ended(launcher: Launcher, reference: Reference) -> Sight:
    return when(launcher, reference, Phase.ENDED, Phase.GONE)


def test_a_job_runs_to_its_end_in_its_folder_with_its_variables(
    launcher: Launcher, job: Any, started: Any, tmp_path: Path
) -> None:
    reference = started(job('echo "$GREETING" "$PWD"; echo oops >&2', environment={"GREETING": "it's a \"day\" $HOME"}))
    assert ended(launcher, reference) == Sight(Phase.ENDED, "", 0)
    assert list(launcher.logs(reference)) == [f"it's a \"day\" $HOME {tmp_path / 'work'}", "oops"]
    assert reference.kind == launcher.kind


def test_what_is_shown_is_what_is_handed_over_and_starts_nothing(launcher: Launcher, job: Any, started: Any) -> None:
    one = job("exit 0")
    text = launcher.render(one)
    assert not one.folder.exists()
    last = [line.strip() for line in text.splitlines() if "exec" in line]
    assert last == ["exec /bin/sh -c 'exit 0'"]
    started(one)
    assert (one.folder / "script").read_text() == text


def test_an_exit_code_is_told_with_the_last_lines(launcher: Launcher, job: Any, started: Any) -> None:
    seen = ended(launcher, started(job("for n in $(seq 30); do echo $n; done; exit 3")))
    assert seen[:3] == (Phase.ENDED, "exit 3", 3)
    assert list(seen.last) == [str(n) for n in range(11, 31)]


def test_a_command_that_is_missing(launcher: Launcher, job: Any, started: Any) -> None:
    one = job("")
    reference = started(replace(one, command=("/no/such/python", "-m", "anabranch")))
    seen = ended(launcher, reference)
    assert seen[:3] == (Phase.ENDED, "exit 127: the command was not found", 127)
    assert "/no/such/python" in seen.last[-1]


def test_a_working_folder_that_is_missing_ends_the_job_before_its_command(
    launcher: Launcher, job: Any, started: Any
) -> None:
    one = job("echo began")
    one.cwd.rmdir()
    seen = ended(launcher, started(one))
    assert seen.code == 1
    assert str(one.cwd) in seen.last[-1]
    assert "began" not in seen.last


def test_a_killed_job_tells_its_signal(launcher: Launcher, job: Any, started: Any) -> None:
    seen = ended(launcher, started(job("echo here; kill -9 $$")))
    assert (seen.phase, seen.code) == (Phase.ENDED, -9)
    assert seen.reason.startswith("killed by signal 9 (SIGKILL)")
    assert list(seen.last) == ["here"]


def test_a_second_start_finds_the_first(launcher: Launcher, job: Any, started: Any, tmp_path: Path) -> None:
    one = job(f"echo x >> {tmp_path}/starts; exit 0")
    first = started(one)
    assert launcher.start(one) == first
    ended(launcher, first)
    assert launcher.start(one) == first  # also after its end
    assert (tmp_path / "starts").read_text() == "x\n"


def test_a_job_is_seen_while_it_runs_and_ends_when_it_is_cancelled(
    launcher: Launcher, job: Any, started: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    python = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        f"print('up', flush=True)\nopen({str(gate)!r}).read()"
    )
    one = job("")
    reference = started(replace(one, command=(sys.executable, "-c", python)))
    until(lambda: "up" in launcher.logs(reference), seconds=DEADLINE)
    assert when(launcher, reference, Phase.RUNNING) == Sight(Phase.RUNNING)
    launcher.cancel(reference)
    seen = ended(launcher, reference)
    assert (seen.phase is Phase.ENDED) is (launcher.kind != "kubernetes")  # a deleted Job is gone
    assert seen.reason
    assert seen.code != 0
    launcher.cancel(reference)  # one that has ended is no error


def test_a_job_that_does_not_answer_is_killed_with_what_it_started(
    launcher: Launcher, job: Any, started: Any, tmp_path: Path
) -> None:
    if launcher.kind == "kubernetes":
        pytest.skip("a pod keeps its own grace")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    reference = started(job(f"trap '' TERM; (read x <{gate}; echo left) & echo up; wait; read x <{gate}"))
    until(lambda: "up" in launcher.logs(reference), seconds=DEADLINE)
    launcher.kill(reference)
    seen = ended(launcher, reference)
    assert seen.code != 0
    assert seen.reason
    with pytest.raises(OSError, match="No such device"):  # nobody reads: its child is gone, too
        os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    launcher.kill(reference)  # one that has ended is no error


def test_many_jobs_are_looked_at_together(launcher: Launcher, job: Any, started: Any) -> None:
    references = [started(job(f"exit {code}")) for code in (0, 1, 2)]
    for reference in references:
        ended(launcher, reference)
    assert [launcher.look(references)[reference].code for reference in references] == [0, 1, 2]
    assert launcher.look([]) == {}


def test_a_process_that_cannot_be_judged_keeps_no_other_from_being_seen(tmp_path: Path) -> None:
    ended = {"good": '{"code": 3, "reason": ""}', "empty": "", "list": "[]", "folder": None}
    jobs = {}
    for name, text in ended.items():
        (tmp_path / name).mkdir()
        if text is None:
            (tmp_path / name / "exit").mkdir()  # no file can be read there
        else:
            (tmp_path / name / "exit").write_text(text)
        jobs[name] = Reference("process", f"{host_name()}:{2**30}:1.0", name, str(tmp_path / name))
    handles = [jobs["good"]._replace(id=id) for id in ("x", "h:1", f"{host_name()}:x:1.0", f"{host_name()}:{2**80}:1")]
    seen = ProcessLauncher().look([*handles, *reversed(jobs.values())])
    assert seen[jobs["good"]][:3] == (Phase.ENDED, "exit 3", 3)
    assert seen[jobs["empty"]].phase is seen[jobs["list"]].phase is Phase.GONE  # how they ended is not known any more
    assert jobs["folder"] not in seen
    assert [here(handle) for handle in handles[:2]] == [False, False]


def test_lines_of_shell_come_before_the_command(launcher: Launcher, job: Any, started: Any) -> None:
    reference = started(job("echo $MODULE", prologue=("MODULE='cuda 12'", "export MODULE")))
    ended(launcher, reference)
    assert list(launcher.logs(reference))[-1] == "cuda 12"


def test_a_job_outlives_its_starter(launcher: Launcher, job: Any, tmp_path: Path) -> None:
    """The reference is data: another process starts the job, and ends before the job begins its work."""
    one = job(f"cat {tmp_path}/gate; exit 4")
    os.mkfifo(tmp_path / "gate")
    program = (
        "import pathlib, sys\n"
        "from anabranch.core.launching import Job\n"
        f"from {type(launcher).__module__} import {type(launcher).__name__} as Launcher\n"
        f"folder, cwd = map(pathlib.Path, {[str(one.folder), str(one.cwd)]!r})\n"
        f"print(tuple(Launcher().start(Job({one.name!r}, {one.command!r}, folder, cwd, options={one.options!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    reference = launcher.start(one)
    assert str(tuple(reference)) == done.stdout.strip()
    (tmp_path / "gate").write_text("go")
    assert ended(launcher, reference).code == 4


def test_a_folder_that_cannot_be_written_starts_nothing(launcher: Launcher, job: Any, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(LaunchError, match="cannot be written"):
        launcher.start(job("exit 0"))


def test_a_log_folder_that_goes_away_is_told(launcher: Launcher, job: Any, started: Any) -> None:
    """The job ends before any code of the user: who waits for it is told, and does not wait for ever."""
    one = job("exit 5")
    reference = started(one)
    shutil.rmtree(one.folder)
    seen = ended(launcher, reference)
    assert seen.phase in (Phase.ENDED, Phase.GONE)
    assert seen.reason
    assert list(launcher.logs(reference)) == []  # of a pod that wrote nothing, too


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a b"}, "'a b' is not a name for a job"),
        ({"name": "x" * 101}, "is not a name for a job"),
        ({"command": ()}, "has no command"),
        ({"environment": {"A-B": "1"}}, "'A-B' is not a name of an environment variable"),
        ({"options": ("--comment=a\nb",)}, "has more than one line"),
    ],
)
def test_what_no_script_can_hold_is_refused(launcher: Launcher, job: Any, change: Any, message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        launcher.render(replace(job("exit 0"), **change))
