"""What becomes of a job after its run was suspended: pure decisions, and the commands that carry them out.

    the run is suspended, its record is committed
        |-- the batch system starts the job again anyway --> nothing
        |-- a job that may be started again --------------> scontrol requeue: the last call, it ends the job
        |-- one that may not, or PBS ---------------------> a job that depends on its end, of the same script
        '-- nothing has ended in several starts ----------> stop, and say so

    SIGTERM inside of a job: the batch system takes the job away, or a person has cancelled it (`cancelled`)
    SIGTERM in a step alone: the job has a grace in which to end (`gives_way`), or a person has sent it
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from anabranch.batch.commands import run
from anabranch.batch.environment import scrubbed
from anabranch.batch.slurm_refusals import job_id
from anabranch.core.errors import LaunchError
from anabranch.launch import script

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anabranch.batch.commands import Command
    from anabranch.core.allocation import Allocation

IDLE = 3  # starts of a job in a row in which nothing ended, after which it is not started again
FOLDER = "ANABRANCH_JOB_FOLDER"  # the folder of the first job, for a job that follows it
IDLE_FILE = "idle"  # in a job's folder
ANSWER = 10.0  # seconds for an answer: a batch system that ends the job does not wait long
LIMIT_SECONDS = 5.0  # so shortly before its limit a job is ended by the limit


class Seen(NamedTuple):
    """What Slurm says of the job that this process is in.

    Attributes:
        restarts: how often the job was started again, or is to be.
        requeue: it may be started again.
        batch: it has a script; an interactive allocation has none.
        ends: it is being ended.
        preempted: for a job of higher priority.
        end: Unix seconds; that of its grace, where it is preempted. None: not told, or in a format of the user's own.
    """

    restarts: int
    requeue: bool
    batch: bool
    ends: bool
    preempted: bool
    end: float | None = None


class Step(Enum):
    """What is done so that a suspended run goes on."""

    NOTHING = "nothing"
    REQUEUE = "requeue"
    FOLLOW = "follow"
    STOP = "stop"


def seen(told: str) -> Seen | None:
    """Read the line of `scontrol show job -o`; None for another text."""
    words = _words(told)
    if "JobState" not in words:
        return None
    return Seen(
        int(words.get("Restarts", "0")),
        words.get("Requeue") == "1",
        words.get("BatchFlag", "1") != "0",
        words["JobState"] not in ("RUNNING", "CONFIGURING", "SUSPENDED"),
        words.get("PreemptTime", "None") not in ("None", "Unknown", "N/A", ""),
        _seconds(words.get("EndTime", "")),
    )


def _seconds(told: str) -> float | None:
    try:
        return datetime.fromisoformat(told).timestamp()
    except ValueError:
        return None


def cancelled(allocation: Allocation, told: Seen | None, now: float) -> bool:
    """Return whether a person ended the job, judged at a SIGTERM: then its run is over, and does not go on.

    Slurm sends the same signal for all ends. A job that it is about to start again, that is at its limit, or that makes
    room for another, was not cancelled; nor is one of which nothing is known.
    """
    if told is None or told.restarts > allocation.restarts or told.preempted:
        return False
    at_limit = allocation.end is not None and now >= allocation.end - LIMIT_SECONDS
    return told.ends and not at_limit


def gives_way(allocation: Allocation, told: Seen | None, now: float) -> bool:
    """Return whether the job ends and its run goes on later, judged at a SIGTERM that has reached a step alone.

    Slurm begins the grace of a preempted job with that signal, and its script has one at the end of the grace. Where a
    person has ended the job, or means only the step, nothing is begun here.
    """
    return told is not None and (told.preempted or (told.ends and not cancelled(allocation, told, now)))


def seconds_to_work(told: Seen, now: float, margin: float, otherwise: float) -> float:
    """Return how long what runs may go on, in a job that is being ended.

    Args:
        margin: seconds to leave for the record; at most a third of what there is, since a grace may be short.
        otherwise: where the end is not known.
    """
    if told.end is None:
        return otherwise
    left = max(0.0, told.end - now)
    return left - min(margin, left / 3)


def next_step(allocation: Allocation, told: Seen | None, idle: int, now: float) -> tuple[Step, str]:
    """Return what is done after a run was suspended, and why.

    Args:
        told: None: Slurm has not answered.
        idle: starts in a row, with this one, in which no item has ended.
    """
    if cancelled(allocation, told, now):
        return Step.STOP, "the job was cancelled meanwhile, so it is not started again"
    if told is not None and told.restarts > allocation.restarts:
        return Step.NOTHING, "the batch system starts the job again by itself"
    if idle >= IDLE:
        return Step.STOP, (
            f"no item has ended in {idle} starts of the job, so it is not started again: ask for a longer walltime, or "
            "make the items smaller"
        )
    if told is not None and not told.batch:
        return Step.STOP, "an interactive allocation is not started again"
    if allocation.kind == "slurm" and (told is None or told.requeue):
        return Step.REQUEUE, "the job is started again, under its id"
    return Step.FOLLOW, "the job may not be started again, so another one follows it"


# -- what carries it out -------------------------------------------------------------------------


def _this_job(allocation: Allocation, environ: Mapping[str, str]) -> str:
    """Return the id by which Slurm is asked about this job alone: one of an array has the array's own number."""
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else allocation.job


def look(allocation: Allocation, environ: Mapping[str, str], command: Command = run) -> Seen | None:
    """Ask Slurm about the job of this process; None where it does not answer."""
    if allocation.kind != "slurm":
        return None
    try:
        answer = command(["scontrol", "show", "job", _this_job(allocation, environ), "-o"], environ, ANSWER)
    except LaunchError:
        return None
    return seen(answer.out) if answer.code == 0 else None


def start_again(allocation: Allocation, environ: Mapping[str, str], command: Command = run) -> str:
    """Ask Slurm to start this job again, which ends this process too; returns why it did not, "" where it does."""
    answer = command(["scontrol", "requeue", _this_job(allocation, environ)], environ, ANSWER)
    return "" if answer.code == 0 else answer.told


def follow(allocation: Allocation, folder: Path, environ: Mapping[str, str], command: Command = run) -> str:
    """Submit a job of the same script that begins after this one's end; returns its id.

    Of an array's job the one that follows has its number alone, and waits for it alone.

    Raises:
        LaunchError: the script is not to be had, or was refused; or the job is one of an array of PBS, whose qsub has
            no option that leaves out the others.
    """
    if allocation.kind == "pbs" and (environ.get("PBS_ARRAY_INDEX") or environ.get("PBS_ARRAYID")):
        raise LaunchError(f"no job follows job {allocation.job}: it is one of an array of PBS; submit it once more")
    file = _script(allocation, folder, environ, command)
    env = {**scrubbed(environ), FOLDER: str(folder)}
    this = _this_job(allocation, environ)
    after = f"afterany:{this}"
    if allocation.kind == "pbs":
        answer = command(["qsub", "-W", f"depend={after}", "-v", f"{FOLDER}={folder}", str(file)], env, ANSWER)
        id = answer.out.strip().splitlines()[-1].strip() if answer.code == 0 and answer.out.strip() else ""
    else:
        told = command(["scontrol", "show", "job", this, "-o"], env, ANSWER)
        options = same_again(told.out, environ)
        answer = command(["sbatch", "--parsable", "-d", after, *options, str(file)], env, 6 * ANSWER)
        id = job_id(answer.out) if answer.code == 0 else ""
    if not id:
        raise LaunchError(f"no job follows job {allocation.job}: {answer.told}; submit it once more")
    try:
        script.succeed(folder, id)
    except OSError as error:
        raise LaunchError(f"job {id} follows job {allocation.job}, and {folder} does not say so: {error}") from error
    return id


# Options of sbatch, and where `scontrol show job` has them.
_OPTIONS = {
    "--job-name": "JobName", "--partition": "Partition", "--account": "Account", "--qos": "QOS",
    "--time": "TimeLimit", "--nodes": "NumNodes", "--ntasks-per-node": "NtasksPerN:B:S:C", "--mem": "MinMemoryNode",
    "--mem-per-cpu": "MinMemoryCPU", "--constraint": "Features", "--reservation": "Reservation",
    "--nodelist": "ReqNodeList", "--exclude": "ExcNodeList", "--licenses": "Licenses", "--output": "StdOut",
    "--chdir": "WorkDir",
}  # fmt: skip
_OF_GPUS = {"--gpus": "TresPerJob", "--gpus-per-task": "TresPerTask", "--cpus-per-gpu": "CpusPerTres",
            "--mem-per-gpu": "MemPerTres"}  # fmt: skip


def same_again(told: str, environ: Mapping[str, str]) -> list[str]:
    """Return the options of sbatch for a job like this one: they may have been on its command line.

    Args:
        told: the line of `scontrol show job -o`.
        environ: the job's variables. They tell a number that was asked for from one that Slurm has filled in.
    """
    words = _words(told)
    words["NtasksPerN:B:S:C"] = words.get("NtasksPerN:B:S:C", "").partition(":")[0]
    found = [f"{option}={words[name]}" for option, name in _OPTIONS.items() if words.get(name, "") not in _NOTHING]
    found += _tasks(words, environ) + _gpus(words, environ)
    if (number := environ.get("SLURM_ARRAY_TASK_ID")) and environ.get("SLURM_ARRAY_JOB_ID"):
        found.append(f"--array={number}")  # the script asks for the whole array: each of its jobs would start all
    if words.get("OverSubscribe") == "NO":
        found.append("--exclusive")
    return [*found, "--open-mode=append"]


_NOTHING = ("", "(null)", "N/A", "0")


def _words(told: str) -> dict[str, str]:
    return dict(re.findall(r"(?<!\S)([A-Z][\w/:]*)=(\S*)", told))


def _tasks(words: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return the options for tasks and their processors, where they were asked for: else Slurm says 1, or the nodes."""
    tasks, each = words.get("NumTasks", ""), words.get("CPUs/Task", "")
    asked = "SLURM_NTASKS" in environ and "SLURM_STEP_ID" not in environ  # srun sets it for each step
    found = []
    if tasks.isdigit() and (asked or tasks != words.get("NumNodes")):
        found.append(f"--ntasks={tasks}")
    if each.isdigit() and (each != "1" or "SLURM_CPUS_PER_TASK" in environ):
        found.append(f"--cpus-per-task={each}")
    return found


def _gpus(words: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return the options for accelerators: "gres:gpu:a100:2" of a node, of the job, of each task."""
    found = []
    node = ",".join(re.sub(r"^gres[:/]", "", one) for one in words.get("TresPerNode", "").split(","))
    if "SLURM_GPUS_PER_NODE" in environ and (match := re.fullmatch(r"gpu[:=]([^,]+)", node)):
        found.append(f"--gpus-per-node={match[1]}")  # the script may have it too, and --gres would not replace it
    elif node not in _NOTHING:
        found.append(f"--gres={node}")
    for option, name in _OF_GPUS.items():
        if match := re.fullmatch(r"gres[:/]gpu[:=]([^,]+)", words.get(name, "")):
            found.append(f"{option}={match[1]}")
    return found


def _script(allocation: Allocation, folder: Path, environ: Mapping[str, str], command: Command) -> Path:
    """Return the job's script: of its folder, else as Slurm has kept it."""
    file = folder / script.SCRIPT
    if file.exists():
        return file
    if allocation.kind == "slurm":
        answer = command(["scontrol", "write", "batch_script", allocation.job, "-"], environ, ANSWER)
        if answer.code == 0 and answer.out.startswith("#!"):
            try:
                file.write_text(answer.out, encoding="utf-8")
            except OSError as error:
                raise LaunchError(f"no job follows job {allocation.job}: {file}: {error.strerror or error}") from error
            return file
    raise LaunchError(f"no job follows job {allocation.job}: there is no {file}; submit it once more")


# -- progress ------------------------------------------------------------------------------------


def idle_starts(folder: Path, *, progress: bool) -> int:
    """Return how many starts of the job in a row have finished nothing, with this one, and note it for the next.

    Raises:
        LaunchError: it cannot be noted.
    """
    file = folder / IDLE_FILE
    try:
        before = int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = 0
    idle = 0 if progress else before + 1
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(f"{idle}\n", encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"{file} cannot be written: {error.strerror or error}") from error
    return idle
