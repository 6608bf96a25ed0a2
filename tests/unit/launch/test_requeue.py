"""What becomes of a job whose run was suspended, and what a SIGTERM means in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from anabranch.batch.commands import Ran
from anabranch.core.allocation import Allocation, Node
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Reference
from anabranch.launch import requeue, script
from anabranch.launch.requeue import Seen, Step, cancelled, gives_way, idle_starts, next_step, seconds_to_work, seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# As Slurm 22.05 has answered; the middle of the line is left out.
LINE = (
    "JobId=7 JobName=a b=c UserId=me(1000) Priority=1 Nice=0 Account=(null) QOS=(null) JobState={state} Reason=None "
    "Requeue={requeue} Restarts={restarts} BatchFlag={batch} ExitCode=0:0 RunTime=00:01:03 TimeLimit=01:00:00 "
    "PreemptTime={preempted} StartTime=2026-11-30T14:36:55 EndTime=2026-11-30T14:37:58 Partition=main NumNodes=2 "
    "CPUs/Task=4 Command=/home/me/job.sh WorkDir=/home/me StdOut=/home/me/log-7 Power="
)
JOB = Allocation("slurm", "7", 1, (Node("n1"),), "n1", end=1000.0)
RUNS = Seen(restarts=1, requeue=True, batch=True, ends=False, preempted=False,
            end=datetime(2026, 11, 30, 14, 37, 58).timestamp())  # fmt: skip


def line(state: str = "RUNNING", **words: object) -> str:
    return LINE.format(state=state, **{"requeue": 1, "restarts": 1, "batch": 1, "preempted": "None", **words})


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (line(), RUNS),
        (line("COMPLETING"), RUNS._replace(ends=True)),
        (line("COMPLETING", restarts=2), RUNS._replace(ends=True, restarts=2)),
        (line(requeue=0, batch=0), RUNS._replace(requeue=False, batch=False)),
        (line("PREEMPTED", preempted="2026-11-30T14:37:58"), RUNS._replace(ends=True, preempted=True)),
        ("slurm_load_jobs error: Unable to contact slurm controller", None),
        ("", None),
    ],
)
def test_what_slurm_says_of_the_job(told: str, found: Seen | None) -> None:
    assert seen(told) == found


@pytest.mark.parametrize(
    ("told", "now", "meant"),
    [
        (RUNS._replace(ends=True), 500.0, True),  # scancel
        (RUNS._replace(ends=True), 999.0, False),  # at its limit
        (RUNS._replace(ends=True, restarts=2), 500.0, False),  # scontrol requeue; a node that failed
        (RUNS._replace(ends=True, preempted=True), 500.0, False),
        (RUNS, 500.0, False),  # a signal of the user's own
        (None, 500.0, False),  # nothing is known: the run can go on
    ],
)
def test_a_cancel_is_told_from_other_ends(told: Seen | None, now: float, meant: bool) -> None:
    assert cancelled(JOB, told, now) is meant


@pytest.mark.parametrize(
    ("told", "now", "gives"),
    [
        (RUNS._replace(preempted=True), 500.0, True),  # in its grace: the script hears of it at the end of that
        (RUNS, 500.0, False),  # `scancel --signal`, to the steps
        (RUNS, 999.0, False),
        (RUNS._replace(ends=True), 500.0, False),  # scancel: the driver has a signal of its own
        (RUNS._replace(ends=True), 999.0, True),  # at its limit
        (RUNS._replace(ends=True, restarts=2), 500.0, True),
        (None, 500.0, False),
    ],
)
def test_what_a_signal_to_the_steps_alone_means(told: Seen | None, now: float, gives: bool) -> None:
    assert gives_way(JOB, told, now) is gives


@pytest.mark.parametrize(
    ("end", "seconds"),
    [
        (1300.0, 270.0),
        (1012.0, 8.0),  # of a short grace a part is left for the record
        (999.0, 0.0),
        (None, 10.0),
    ],
)
def test_what_runs_ends_before_the_grace_does(end: float | None, seconds: float) -> None:
    assert seconds_to_work(RUNS._replace(end=end), 1000.0, 30.0, 10.0) == seconds


def test_an_end_in_a_format_of_the_users_own_is_not_known() -> None:
    told = seen(line().replace("EndTime=2026-11-30T14:37:58", "EndTime=14:37"))
    assert told == RUNS._replace(end=None)


@pytest.mark.parametrize(
    ("told", "idle", "step"),
    [
        (RUNS, 0, Step.REQUEUE),
        (None, 0, Step.REQUEUE),
        (RUNS._replace(ends=True), 0, Step.STOP),  # scancel, while the run drained
        (RUNS._replace(ends=True, preempted=True), 0, Step.REQUEUE),
        (RUNS._replace(restarts=2, ends=True), 0, Step.NOTHING),
        (RUNS._replace(requeue=False), 0, Step.FOLLOW),
        (RUNS._replace(batch=False), 0, Step.STOP),
        (RUNS, requeue.IDLE - 1, Step.REQUEUE),
        (RUNS, requeue.IDLE, Step.STOP),
        (RUNS._replace(restarts=2), requeue.IDLE, Step.NOTHING),  # it cannot be kept from it
    ],
)
def test_what_is_done_after_a_run_was_suspended(told: Seen | None, idle: int, step: Step) -> None:
    assert next_step(JOB, told, idle, 500.0)[0] is step


def test_a_job_at_its_limit_is_started_again() -> None:
    assert next_step(JOB, RUNS._replace(ends=True), 0, 999.0)[0] is Step.REQUEUE


def test_a_pbs_job_is_followed_by_another() -> None:
    assert next_step(replace(JOB, kind="pbs"), None, 0, 500.0)[0] is Step.FOLLOW


def test_starts_without_progress_are_counted_in_a_row(tmp_path: Path) -> None:
    told = [idle_starts(tmp_path / "job", progress=progress) for progress in (False, False, True, False)]
    assert told == [1, 2, 0, 1]


class Slurm:
    """Answers as Slurm does, and notes what it was asked."""

    def __init__(self, **answers: Ran) -> None:
        self.answers = {"show": Ran(0, line()), "write": Ran(0, "#!/bin/sh\nexec true\n"), **answers}
        self.asked: list[list[str]] = []
        self.environ: Mapping[str, str] = {}

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
        self.asked.append(list(argv))
        self.environ = env
        return self.answers.get(argv[1] if argv[0] == "scontrol" else argv[0], Ran(1, "", "what?"))


def test_a_job_that_follows_is_like_the_one_before(tmp_path: Path) -> None:
    slurm = Slurm(sbatch=Ran(0, "8\n"))
    environ = {"SLURM_JOB_ID": "7", "SLURM_CONF": "c", "MINE": "1", "SLURM_RESTART_COUNT": "1"}
    assert requeue.follow(JOB, tmp_path, environ, slurm) == "8"
    sbatch = slurm.asked[-1]
    assert sbatch[:4] == ["sbatch", "--parsable", "-d", "afterany:7"]
    assert {"--time=01:00:00", "--nodes=2", "--cpus-per-task=4", "--open-mode=append"} < set(sbatch)
    assert not [word for word in sbatch if word.startswith(("--account", "--qos"))], "there are none"
    assert sbatch[-1] == str(tmp_path / "script")
    assert (tmp_path / "script").read_text().startswith("#!/bin/sh")
    assert slurm.environ == {"SLURM_CONF": "c", "MINE": "1", requeue.FOLDER: str(tmp_path)}


# As Slurm 22.05 has answered for jobs with these options; the times and some fields that say (null) are left out.
HEAD = "JobId=2 JobName=wrap Account=(null) QOS=(null) JobState=RUNNING TimeLimit=01:00:00 Partition=main"
TAIL = "Network=(null) Command=(null) WorkDir=/tmp StdErr=/dev/null StdIn=/dev/null StdOut=/dev/null Power="
ALWAYS = {"--job-name=wrap", "--partition=main", "--time=01:00:00", "--nodes=1", "--output=/dev/null", "--chdir=/tmp",
          "--open-mode=append"}  # fmt: skip


def job_line(tasks: int = 1, each: int = 1, per_node: int = 0, memory: str = "Node=0", more: str = "", end: str = "",
             shared: str = "OK", features: str = "(null)", node: str = "(null)") -> str:  # fmt: skip
    cpus = tasks * each
    return (
        f"{HEAD} ReqNodeList={node} ExcNodeList=(null) NodeList=vm BatchHost=vm NumNodes=1 NumCPUs={cpus} "
        f"NumTasks={tasks} CPUs/Task={each} ReqB:S:C:T=0:0:*:* TRES=cpu={cpus},mem=500M,node=1,billing={cpus} "
        f"Socks/Node=* NtasksPerN:B:S:C={per_node}:0:*:* CoreSpec=* MinCPUsNode=1 MinMemory{memory} MinTmpDiskNode=0 "
        f"Features={features} DelayBoot=00:00:00 {more}OverSubscribe={shared} Contiguous=0 Licenses=(null) {TAIL} {end}"
    )


@pytest.mark.parametrize(
    ("told", "variables", "options"),
    [
        (job_line(), {}, set()),  # no --cpus-per-task=1: each task of a step would have one processor
        (job_line(), {"SLURM_CPUS_PER_TASK": "1"}, {"--cpus-per-task=1"}),
        (job_line(tasks=2, memory="Node=500M"), {"SLURM_NTASKS": "2"}, {"--ntasks=2", "--mem=500M"}),
        (job_line(tasks=4, memory="CPU=100M"), {"SLURM_NTASKS": "4"}, {"--ntasks=4", "--mem-per-cpu=100M"}),
        (job_line(), {"SLURM_NTASKS": "1"}, {"--ntasks=1"}),
        (job_line(), {"SLURM_NTASKS": "1", "SLURM_STEP_ID": "0"}, set()),  # of the step
        (job_line(tasks=2, per_node=2), {"SLURM_NTASKS_PER_NODE": "2"}, {"--ntasks=2", "--ntasks-per-node=2"}),
        (job_line(each=2, shared="NO"), {"SLURM_CPUS_PER_TASK": "2"}, {"--cpus-per-task=2", "--exclusive"}),
        (
            job_line(more="Reservation=maint2 ", features="big&fast", node="vm"), {},
            {"--reservation=maint2", "--constraint=big&fast", "--nodelist=vm"},
        ),
        (job_line(end="TresPerNode=gres:gpu:1 "), {}, {"--gres=gpu:1"}),
        (
            job_line(end="TresPerNode=gres:gpu:tesla:2 "), {"SLURM_GPUS_PER_NODE": "tesla:2"},
            {"--gpus-per-node=tesla:2"},
        ),
        (job_line(end="TresPerJob=gres:gpu:1 "), {"SLURM_GPUS": "1"}, {"--gpus=1"}),
        (job_line(tasks=2, end="TresPerTask=gres:gpu:1 "), {}, {"--ntasks=2", "--gpus-per-task=1"}),
        (
            job_line(end="CpusPerTres=gres:gpu:2 MemPerTres=gres:gpu:100 TresPerJob=gres:gpu:1 "), {},
            {"--cpus-per-gpu=2", "--mem-per-gpu=100", "--gpus=1"},
        ),
    ],
)  # fmt: skip
def test_what_the_job_asked_for_is_asked_for_again(told: str, variables: dict[str, str], options: set[str]) -> None:
    assert set(requeue.same_again(told, variables)) == ALWAYS | options


def test_the_script_of_the_jobs_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n# ours\n")
    slurm = Slurm(sbatch=Ran(0, "8;cluster\n"))
    requeue.follow(JOB, tmp_path, {}, slurm)
    assert (tmp_path / "script").read_text() == "#!/bin/sh\n# ours\n"
    assert not [argv for argv in slurm.asked if argv[1] == "write"]


def test_the_folder_of_a_submitted_job_names_the_job_that_follows(tmp_path: Path) -> None:
    """Whoever looks for the run's job finds the one that goes on with it."""
    script.note(Reference("slurm", "7", "survey", str(tmp_path)), tmp_path)
    requeue.follow(JOB, tmp_path, {}, Slurm(sbatch=Ran(0, "8\n")))
    assert script.started(tmp_path) == Reference("slurm", "8", "survey", str(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    requeue.follow(JOB, other, {}, Slurm(sbatch=Ran(0, "9\n")))
    assert script.started(other) is None


@pytest.mark.parametrize(
    "answers", [{"sbatch": Ran(1, "", "sbatch: error: no more jobs")}, {"write": Ran(1, "", "not yours")}]
)
def test_a_job_that_cannot_follow_is_an_error_that_says_so(tmp_path: Path, answers: dict[str, Ran]) -> None:
    with pytest.raises(LaunchError, match=r"no job follows job 7: .*submit it once more"):
        requeue.follow(JOB, tmp_path, {}, Slurm(**answers))


def test_a_pbs_job_is_followed_by_qsub(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    slurm = Slurm(qsub=Ran(0, "9.server\n"))
    assert requeue.follow(replace(JOB, kind="pbs", job="8.server"), tmp_path, {}, slurm) == "9.server"
    assert slurm.asked == [
        ["qsub", "-W", "depend=afterany:8.server", "-v", f"{requeue.FOLDER}={tmp_path}", str(tmp_path / "script")]
    ]


def test_a_question_that_fails_tells_nothing() -> None:
    def missing(argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
        raise LaunchError("scontrol cannot be called here")

    assert requeue.look(JOB, {}, missing) is None
    assert requeue.look(JOB, {}, Slurm(show=Ran(1, line()))) is None
    assert requeue.look(replace(JOB, kind="pbs"), {}, Slurm()) is None
    assert requeue.look(JOB, {}, Slurm()) == RUNS
    assert requeue.start_again(JOB, {}, Slurm(requeue=Ran(0))) == ""
    assert requeue.start_again(JOB, {}, Slurm(requeue=Ran(1, "", "disabled for job 7"))) == "disabled for job 7"


def test_of_an_array_one_job_alone_is_started_again() -> None:
    """One of them has the array's own number, which stands for all: Slurm would start each of them again."""
    asked: list[Sequence[str]] = []

    def slurm(argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
        asked.append(argv)
        return Ran(0, line())

    environ = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    assert requeue.look(JOB, environ, slurm) == RUNS
    assert requeue.start_again(JOB, environ, slurm) == ""
    assert asked == [["scontrol", "show", "job", "7_2", "-o"], ["scontrol", "requeue", "7_2"]]


def test_of_an_array_one_job_alone_follows(tmp_path: Path) -> None:
    """The script asks for the whole array, and the last job of it has the array's own number."""
    slurm = Slurm(sbatch=Ran(0, "8\n"))
    environ = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    assert requeue.follow(JOB, tmp_path, environ, slurm) == "8"
    assert ["scontrol", "show", "job", "7_2", "-o"] in slurm.asked
    sbatch = slurm.asked[-1]
    assert sbatch[:4] == ["sbatch", "--parsable", "-d", "afterany:7_2"]
    assert [word for word in sbatch if word.startswith("--array")] == ["--array=2"]
    assert not [name for name in slurm.environ if name.startswith("SLURM_")], "of the job before"


@pytest.mark.parametrize("variable", ["PBS_ARRAY_INDEX", "PBS_ARRAYID"])
def test_a_job_of_a_pbs_array_is_not_followed_by_the_whole_array(tmp_path: Path, variable: str) -> None:
    slurm = Slurm(qsub=Ran(0, "9.server\n"))
    with pytest.raises(LaunchError, match=r"one of an array of PBS; submit it once more"):
        requeue.follow(replace(JOB, kind="pbs", job="8[2].server"), tmp_path, {variable: "2"}, slurm)
    assert not slurm.asked
