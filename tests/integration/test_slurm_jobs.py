"""Jobs of real Slurm through what happens to them there: a requeue, a limit, a name that is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from anabranch.core.launching import Job, Phase, Reference
from anabranch.launch.slurm import SlurmLauncher

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.launching import Sight

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.usefixtures("slurm"),
    pytest.mark.timeout(180),
    pytest.mark.sampled(3, "jobs that start, end and start again"),
]
DEADLINE = 100.0


def job(tmp_path: Path, name: str, line: str, **given: object) -> Job:
    name = f"{name}-{os.getpid()}"
    return Job(name, ("/bin/bash", "-c", line), tmp_path / name, tmp_path, **given)  # type: ignore[arg-type]


def until(launcher: SlurmLauncher, reference: Reference, *phases: Phase) -> list[Sight]:
    """Look until the job is in one of these phases; returns all that was seen on the way."""
    end, seen = time.monotonic() + DEADLINE, []
    while not seen or seen[-1].phase not in phases:
        assert time.monotonic() < end, seen[-3:]
        seen.append(launcher.look([reference])[reference])
        time.sleep(0.1)
    return seen


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True, capture_output=True)


def test_a_job_that_starts_again_is_at_no_moment_taken_for_ended(tmp_path: Path) -> None:
    """While it is brought down it is COMPLETING for some seconds, then it waits for two minutes."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    launcher = SlurmLauncher()
    line = f'echo "start ${{SLURM_RESTART_COUNT:-0}}"; [ -n "$SLURM_RESTART_COUNT" ] && exit 3; read x <{gate}'
    reference = launcher.start(job(tmp_path, "again", line))
    until(launcher, reference, Phase.RUNNING)
    while "start 0" not in launcher.logs(reference):
        time.sleep(0.05)
    scontrol("requeue", reference.id)
    on_the_way = until(launcher, reference, Phase.PENDING)
    assert {seen.phase for seen in on_the_way} <= {Phase.RUNNING, Phase.PENDING}
    assert on_the_way[-1].restarts == 1
    assert all(seen.code is None and not seen.last for seen in on_the_way)
    # Not at once: a node refuses a job that is started again within the second of its end; Slurm waits two minutes.
    scontrol("update", f"JobId={reference.id}", "StartTime=now+4")
    seen = until(launcher, reference, Phase.ENDED)[-1]
    assert (seen.reason, seen.code, seen.restarts) == ("exit 3", 3, 1)
    assert [line for line in launcher.logs(reference) if line.startswith("start")] == ["start 0", "start 1"]


def test_a_job_that_was_handed_over_by_a_call_that_died_is_found(tmp_path: Path) -> None:
    """The call was killed between sbatch's answer and its own: there is a script, and no reference."""
    launcher, one = SlurmLauncher(), job(tmp_path, "found", "exit 0", options=("--hold",))
    first = launcher.start(one)
    (one.folder / "reference").unlink()
    assert first.cluster
    assert launcher.start(one) == first
    launcher.cancel(first)


def test_a_job_that_another_has_renamed_is_not_taken_for_gone(tmp_path: Path) -> None:
    launcher = SlurmLauncher()
    reference = launcher.start(job(tmp_path, "old", "exit 0", options=("--hold",)))
    scontrol("update", f"JobId={reference.id}", "JobName=new")
    assert launcher.look([reference]) == {}
    launcher.cancel(reference)


def test_a_job_that_slurm_never_had_is_gone_beside_one_that_it_has(tmp_path: Path) -> None:
    launcher = SlurmLauncher()
    mine = launcher.start(job(tmp_path, "mine", "exit 0", options=("--hold",)))
    lost = [Reference("slurm", str(900_000 + n), "lost", str(tmp_path)) for n in range(3)]
    seen = launcher.look([mine, *lost])
    assert [seen[one].phase for one in (mine, *lost)] == [Phase.PENDING, *[Phase.GONE] * 3]
    assert launcher.look(lost)[lost[0]].reason == "Slurm knows nothing of job 900000 any more"
    assert launcher.look([lost[0]._replace(cluster="elsewhere")]) == {}
    here = lost[0]._replace(cluster=mine.cluster)
    assert launcher.look([here])[here].phase is Phase.GONE
    launcher.cancel(lost[0])
    launcher.cancel(mine)


def test_a_folder_of_any_name_has_its_log(tmp_path: Path) -> None:
    """Slurm replaces %j in the name of a log, and splits words."""
    odd = tmp_path / "50%job's \"best\" $HOME"
    odd.mkdir()
    launcher = SlurmLauncher()
    reference = launcher.start(Job(f"odd-{os.getpid()}", ("echo", "here"), odd / "job", odd))
    until(launcher, reference, Phase.ENDED)
    assert list(launcher.logs(reference)) == ["here"]


@pytest.mark.nightly("Slurm counts whole minutes: the limit of one minute takes up to 90 seconds")
def test_a_job_that_runs_into_its_walltime_is_no_success(tmp_path: Path) -> None:
    """It ends itself with 0 when it is told: Slurm calls that TIMEOUT 0:0."""
    launcher = SlurmLauncher()
    line = "trap 'exit 0' TERM; trap 'echo warned' USR1; for n in $(seq 900); do sleep 0.2; done"
    reference = launcher.start(job(tmp_path, "limit", line, walltime=60.0))
    seen = until(launcher, reference, Phase.ENDED)[-1]
    assert seen.reason == "TIMEOUT: it ran into its walltime: ask for more with --time"
    assert seen.code != 0
    assert "warned" in launcher.logs(reference)


ELEMENT = """\
#!/bin/bash
#SBATCH --array=1-3
#SBATCH --no-requeue
if [ -z "$ANABRANCH_JOB_FOLDER" ]; then exec {python} -c '
import os
from pathlib import Path
from anabranch.core.own_job import own_allocation
from anabranch.launch import requeue
place = Path(os.environ["SLURM_ARRAY_TASK_ID"])
place.mkdir()
(place / "follows").write_text(requeue.follow(own_allocation(), place, os.environ))
'; fi
touch "$ANABRANCH_JOB_FOLDER/went-on-$SLURM_ARRAY_TASK_ID-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_COUNT"
"""


@pytest.mark.nightly("three jobs that start Python, and three that wait for them")
def test_each_job_of_an_array_is_followed_by_one(tmp_path: Path) -> None:
    """The script asks for the whole array, and so would each of its jobs."""
    (tmp_path / "script").write_text(ELEMENT.format(python=sys.executable))
    subprocess.run(
        ["sbatch", "--chdir", str(tmp_path), "--time=5", str(tmp_path / "script")], check=True, capture_output=True
    )
    end = time.monotonic() + DEADLINE
    while len(list(tmp_path.glob("[123]/went-on-*"))) < 3 or queued():
        assert time.monotonic() < end, [path.read_text() for path in tmp_path.glob("slurm-*")]
        time.sleep(0.2)
    went_on = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("*/went-on-*"))
    ids = [(tmp_path / number / "follows").read_text() for number in "123"]
    assert [str(path) for path in went_on] == [f"{n}/went-on-{n}-{id}-1" for n, id in zip("123", ids, strict=True)]


def queued() -> bool:
    return bool(subprocess.run(["squeue", "-h", "--me", "-n", "script"], check=True, capture_output=True).stdout)
