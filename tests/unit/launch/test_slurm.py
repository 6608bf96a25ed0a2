"""Slurm's launcher against commands that lie, fail or do not answer; and what it hands over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.batch.commands import Ran
from anabranch.batch.environment import scrubbed
from anabranch.batch.slurm_refusals import job_id
from anabranch.batch.slurm_states import Line
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Job, Phase, Reference, Resources
from anabranch.launch.slurm import SlurmLauncher, directives, one_processor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LOST = Ran(1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
ROW = "{id}|{name}|{state}|None|0|0|"


class Slurm:
    """Slurm's commands by a list of answers to sbatch; the queue is what was accepted.

    An answer is told, or (accepted, told): what the controller did, whatever sbatch says.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.queue: dict[str, tuple[str, str]] = {}
        self.asked: list[Sequence[str]] = []
        self.down: Ran | None = None
        self.cluster = ""

    def __call__(self, argv: Sequence[str], env: Any, seconds: float) -> Ran:
        self.asked.append(argv)
        if argv[0] == "sbatch":
            answer = self.answers.pop(0)
            accepted, told = answer if isinstance(answer, tuple) and not isinstance(answer, Ran) else (False, answer)
            if accepted:
                self.queue[str(17 + len(self.queue))] = ("job", "PENDING")
            return told
        if self.down is not None:
            return self.down
        if argv[0] == "squeue":
            names = argv[argv.index("-n") + 1].split(",") if "-n" in argv else None
            chosen = {id: row for id, row in self.queue.items() if names is None or row[0] in names}
            if "-j" in argv:
                wanted = argv[argv.index("-j") + 1].split(",")
                chosen = {id: row for id, row in self.queue.items() if id in wanted}
                if not chosen:
                    return Ran(1, "", "slurm_load_jobs error: Invalid job id specified")
            return Ran(0, "\n".join(ROW.format(id=id, name=name, state=state) for id, (name, state) in chosen.items()))
        return Ran(0, f"ClusterName             = {self.cluster}\n" if self.cluster else "")

    @property
    def times(self) -> dict[str, int]:
        """How often each command was asked: each is one request to the controller."""
        return {name: sum(argv[0] == name for argv in self.asked) for name in ("sbatch", "squeue", "scancel")}


def launcher(slurm: Slurm, **given: Any) -> tuple[SlurmLauncher, list[float]]:
    slept: list[float] = []
    return SlurmLauncher(command=slurm, sleep=slept.append, environ={"PATH": "/bin"}, **given), slept


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def made(**given: Any) -> Job:
        return Job("job", ("python",), tmp_path / "folder", tmp_path, **given)

    return made


# -- answers that are lost ------------------------------------------------------------------------


def test_one_request_starts_a_job(job: Any) -> None:
    slurm = Slurm((True, Ran(0, "17\n")))
    one, slept = launcher(slurm)
    assert one.start(job()).id == "17"
    assert slurm.times == {"sbatch": 1, "squeue": 0, "scancel": 0}
    assert slept == []


@pytest.mark.parametrize("lost", [LOST, Ran(None), Ran(-9), Ran(0, "Submitted, I think\n")])
def test_a_job_that_was_taken_without_an_answer_is_found_and_not_submitted_again(job: Any, lost: Ran) -> None:
    slurm = Slurm((True, lost))
    one, slept = launcher(slurm)
    assert one.start(job()).id == "17"
    assert slurm.times == {"sbatch": 1, "squeue": 1, "scancel": 0}
    assert slept == [5.0]


def test_a_job_that_was_not_taken_is_submitted_again(job: Any) -> None:
    slurm = Slurm(LOST, (True, Ran(0, "17\n")))
    one, _ = launcher(slurm)
    assert one.start(job()).id == "17"
    assert slurm.times == {"sbatch": 2, "squeue": 1, "scancel": 0}


def test_a_controller_that_stays_away_is_an_error_and_its_late_job_is_found(job: Any) -> None:
    slurm = Slurm(LOST, LOST, LOST)
    one, slept = launcher(slurm)
    with pytest.raises(LaunchError, match=r"does not answer.*Socket timed out.*finds that its run has ended"):
        one.start(job())
    assert slept == [5.0, 20.0, 20.0]
    slurm.queue["40"] = ("job", "RUNNING")  # it had taken one after all
    assert one.start(job()).id == "40"
    assert slurm.times["sbatch"] == 3


def test_where_the_queue_does_not_answer_nothing_is_submitted_again(job: Any) -> None:
    slurm = Slurm((True, LOST))
    slurm.down = Ran(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    one, _ = launcher(slurm)
    with pytest.raises(LaunchError, match="Unable to contact"):
        one.start(job())
    assert slurm.times["sbatch"] == 1


def test_a_refusal_is_told_at_once_with_the_way_out(job: Any) -> None:
    told = "invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name"
    slurm = Slurm(Ran(1, "", f"sbatch: error: {told}"))
    one, slept = launcher(slurm)
    with pytest.raises(LaunchError, match=r"not take the job: invalid partition specified: nope; .*`sinfo -s` lists"):
        one.start(job())
    assert slurm.times == {"sbatch": 1, "squeue": 0, "scancel": 0}
    assert slept == []


def test_no_commands_on_the_path(job: Any) -> None:
    one = SlurmLauncher(environ={"PATH": "/nonexistent"})
    with pytest.raises(LaunchError, match=r"sbatch cannot be called here: No such file.*module load slurm"):
        one.start(job())


@pytest.mark.parametrize(
    ("out", "id"),
    [
        ("17\n", "17"),
        ("17;east\n", "17;east"),
        ("*** Welcome to 3 nodes ***\nBudget left: 500\n17\n", "17"),
        ("17\nRemember to log out\n", "17"),
        ("Submitted batch job 17\n", ""),
        ("", ""),
    ],
)
def test_the_id_is_found_in_what_a_site_prints(out: str, id: str) -> None:
    assert job_id(out) == id


def test_a_cluster_of_several_is_named_in_each_question(job: Any) -> None:
    slurm = Slurm((True, Ran(0, "17;east\n")))
    one, _ = launcher(slurm)
    reference = one.start(job())
    one.look([reference])
    one.cancel(reference)
    assert ["--clusters=east" in argv for argv in slurm.asked] == [False, False, True, True]
    assert slurm.asked[-1][-1] == "17"


def test_a_job_of_another_cluster_is_left_alone(job: Any) -> None:
    """Two clusters share a home: what the one does not know waits in the other, and its number may be a neighbour's."""
    slurm = Slurm((True, Ran(0, "17\n")))
    one, _ = launcher(slurm)
    slurm.cluster = "east"
    reference = one.start(job())
    assert reference.cluster == "east"
    slurm.cluster, slurm.queue = "west", {}
    one, _ = launcher(slurm)  # a program on another machine
    assert one.look([reference]) == {}
    slurm.queue = {"17": ("another", "FAILED")}
    assert one.look([reference]) == {}
    with pytest.raises(LaunchError, match="job 17 is one of cluster east, and this machine is of west: cancel it"):
        one.cancel(reference)
    slurm.cluster, slurm.queue = "east", {}
    one, _ = launcher(slurm)
    assert one.look([reference])[reference].phase is Phase.GONE
    assert slurm.times["scancel"] == 0


@pytest.mark.parametrize("option", ["--clusters=west,east", "-Mwest"])
def test_a_job_whose_answer_was_lost_is_looked_for_where_it_went(job: Any, option: str) -> None:
    slurm = Slurm((True, LOST))
    one, _ = launcher(slurm)
    assert one.start(job(options=(option,))).id == "17;west"
    assert slurm.times["sbatch"] == 1
    assert "--clusters=west" in slurm.asked[-1]


def test_of_jobs_of_one_name_one_that_has_not_ended_is_found(job: Any) -> None:
    slurm = Slurm(LOST)
    slurm.queue = {"11": ("job", "FAILED"), "12": ("job", "PENDING")}
    assert launcher(slurm)[0].start(job()).id == "12"


# -- questions ------------------------------------------------------------------------------------


def references(count: int, tmp_path: Path) -> list[Reference]:
    return [Reference("slurm", str(17 + n), f"job{n}", str(tmp_path)) for n in range(count)]


@pytest.mark.parametrize("count", [1, 200, 1000])
def test_one_question_for_all_jobs(count: int, tmp_path: Path) -> None:
    slurm, wanted = Slurm(), references(count, tmp_path)
    slurm.queue = {one.id: (one.name, "RUNNING") for one in wanted}
    one, _ = launcher(slurm)
    assert {seen.phase for seen in one.look(wanted).values()} == {Phase.RUNNING}
    assert slurm.times["squeue"] == 1
    assert max(len(word) for word in slurm.asked[0]) < 100_000  # what the kernel takes for one word is 131,071


def test_each_line_of_an_answer_is_read_once_however_many_jobs_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each job looked through all lines: an agent computed for seconds at each look at its thousand jobs."""
    read, job = Counter[str](), vars(Line)["job"].fget
    monkeypatch.setattr(Line, "job", property(lambda line: read.update([line.id]) or job(line)))
    slurm, wanted = Slurm(), references(300, tmp_path)
    slurm.queue = {one.id: (one.name, "RUNNING") for one in wanted}
    one, _ = launcher(slurm)
    assert len(one.look(wanted)) == 300
    assert set(read.values()) == {1}


def test_those_that_are_missing_are_asked_for_by_id_together(tmp_path: Path) -> None:
    slurm, wanted = Slurm(), references(300, tmp_path)
    slurm.queue = {one.id: ("another" if n % 2 else one.name, "FAILED") for n, one in enumerate(wanted[:3])}
    one, _ = launcher(slurm)
    seen = one.look(wanted)
    assert wanted[1] not in seen  # the number is that of another job, whose state says nothing of ours
    assert [seen[reference].phase for reference in wanted[:4] if reference in seen] == [Phase.ENDED] * 2 + [Phase.GONE]
    assert seen[wanted[-1]].reason == "Slurm knows nothing of job 316 any more"
    assert slurm.times["squeue"] == 2


def test_a_question_that_fails_is_no_answer(tmp_path: Path) -> None:
    """Jobs that ran on were taken for ended, because the controller was away for some minutes."""
    slurm, wanted = Slurm(), references(2, tmp_path)
    one, _ = launcher(slurm)
    for down in (Ran(1, "", "slurm_load_jobs error: Unable to contact slurm controller"), Ran(None), Ran(-15)):
        slurm.down = down
        with pytest.raises(LaunchError, match="did not say what became of its jobs"):
            one.look(wanted)
    slurm.down = None
    slurm.queue = {one.id: (one.name, "RUNNING") for one in wanted}
    assert {seen.phase for seen in one.look(wanted).values()} == {Phase.RUNNING}


def test_a_cancel_that_fails_is_told_and_one_of_a_job_that_is_gone_is_not(tmp_path: Path) -> None:
    slurm, wanted = Slurm(), references(1, tmp_path)
    one, _ = launcher(slurm)
    slurm.down = Ran(1, "", "scancel: error: Kill job error on job id 17: Invalid job id specified")
    one.cancel(wanted[0])
    for down, told in ((Ran(None), "no answer in time"), (Ran(1, "", "scancel: Access denied"), "Access denied")):
        slurm.down = down
        with pytest.raises(LaunchError, match=f"job 17 could not be cancelled: .*{told}"):
            one.cancel(wanted[0])


# -- what is handed over -----------------------------------------------------------------------------


def test_the_directives_of_a_job(job: Any, tmp_path: Path) -> None:
    one = job(resources=Resources(2, 8, 3 * 2**30 + 1, 1), walltime=90 * 60 + 1, options=("--partition=short",))
    assert directives(one) == [
        "--job-name=job",
        f"--output={tmp_path}/folder/log",
        "--open-mode=append",
        "--export=ALL",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--mem=3073M",
        "--gpus-per-node=1",
        "--time=01:31:00",
        "--signal=B:USR1@120",
        "--requeue",
        "--partition=short",
    ]


@pytest.mark.parametrize(
    ("seconds", "time", "warning"),
    [(1, "00:01:00", 1), (60, "00:01:00", 15), (3600, "01:00:00", 120), (26 * 3600, "1-02:00:00", 120)],
)
def test_a_walltime_is_rounded_up_and_a_short_one_has_a_late_warning(
    job: Any, seconds: float, time: str, warning: int
) -> None:
    found = directives(job(walltime=seconds))
    assert f"--time={time}" in found
    assert f"--signal=B:USR1@{warning}" in found


def test_a_site_may_forbid_directives_and_a_user_may_replace_them(job: Any) -> None:
    one = job(resources=Resources(1, 2, 2**30), options=("--no-requeue", "-c4", "--signal=B:USR2@300"))
    assert directives(one, without=("--mem", "--ntasks-per-node"))[4:] == [
        "--nodes=1",
        "--no-requeue",
        "-c4",
        "--signal=B:USR2@300",
    ]
    assert not {"--mem=1024M"} & set(directives(job(resources=Resources(memory=2**30), options=("--mem-per-cpu=1G",))))


@pytest.mark.parametrize("option", ["--array=1-9", "-a1", "--output=/tmp/x", "-J", "--wrap=true"])
def test_options_that_are_ours_are_refused(job: Any, option: str) -> None:
    with pytest.raises(LaunchError, match="cannot be given for job 'job': one flow is one job"):
        directives(job(options=(option,)))


@pytest.mark.parametrize("option", ["partition=short", "-p short", "", "--a b=c"])
def test_what_is_no_option_is_refused(job: Any, option: str) -> None:
    with pytest.raises(LaunchError, match="is not an option for sbatch: write it as --NAME=VALUE"):
        directives(job(options=(option,)))


@pytest.mark.parametrize("cpus", [0, 2])
@pytest.mark.parametrize(
    "option",
    ["", "-c=4", "--cpus-per-task=4", "--ntasks=8", "-n=8", "--ntasks-per-node=4", "--cpus-per-gpu=4", "--exclusive",
     "--partition=short", "--mem=1G"],
)  # fmt: skip
def test_a_job_that_asks_for_no_processors_is_told_that_it_gets_one_a_node(job: Any, cpus: int, option: str) -> None:
    told = one_processor(job(resources=Resources(nodes=2, cpus=cpus), options=[option] if option else ()))
    silent = cpus or option.partition("=")[0] not in ("", "--partition", "--mem")
    assert told == ("" if silent else "Slurm gives one processor a node: --cpus N, or --option=--exclusive")


def test_options_are_given_on_the_command_line_too(job: Any) -> None:
    """SBATCH_PARTITION in the environment is stronger than a directive in the script."""
    slurm = Slurm((True, Ran(0, "17\n")))
    launcher(slurm)[0].start(job(options=("--partition=short",)))
    assert "--partition=short" in slurm.asked[-1]


def test_variables_of_a_job_around_are_left_out() -> None:
    outer = {"SLURM_JOB_ID": "3", "SLURM_CPU_BIND": "x", "SLURM_CONF": "/etc/s", "PMI_RANK": "0", "PMIX_ID": "1",
             "SBATCH_ACCOUNT": "physics", "SBATCH_EXPORT": "NONE", "TMPDIR": "/scratch/3", "CUDA_VISIBLE_DEVICES": "0",
             "ANABRANCH_WALLTIME_END": "1000",
             "SQUEUE_PARTITION": "short", "SLURM_TIME_FORMAT": "relative", "PATH": "/bin"}  # fmt: skip
    assert scrubbed(outer) == {"SLURM_CONF": "/etc/s", "SBATCH_ACCOUNT": "physics", "PATH": "/bin"}
    del outer["SLURM_JOB_ID"]
    left = scrubbed(outer)
    assert left["TMPDIR"] == "/scratch/3"
    assert not {"ANABRANCH_WALLTIME_END", "SBATCH_EXPORT", "SQUEUE_PARTITION", "SLURM_TIME_FORMAT"} & left.keys()
