"""PBS's launcher against outputs in the shape of recorded ones: there is no PBS here to try it on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.batch import pbs_states
from anabranch.batch.commands import Ran
from anabranch.batch.environment import scrubbed
from anabranch.batch.pbs_states import job_id, jobs, jobs_of_text, sight
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Job, Phase, Reference, Resources, Sight
from anabranch.launch.pbs import PbsLauncher, directives

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# The shape of PBS 19 to 2022: numbers sometimes as text, Exit_status and stime only once they are known.
ANSWER = """\
{
    "timestamp":1618436059,
    "pbs_version":"20.0.1",
    "pbs_server":"head",
    "Jobs":{
        "1008.head":{
            "Job_Name":"survey-1",
            "Job_Owner":"ada@login1",
            "resources_used":{"cpupercent":98, "cput":"00:01:40", "mem":"40kb", "ncpus":5, "walltime":"00:01:50"},
            "job_state":"R",
            "queue":"workq",
            "exec_host":"n1/0*2+n2/0*2",
            "Hold_Types":"n",
            "Rerunable":"True",
            "Resource_List":{"ncpus":4, "nodect":2, "select":"2:ncpus=2", "walltime":"04:00:00"},
            "stime":"Wed Apr 14 23:34:19 2021",
            "comment":"Job run at Wed Apr 14 at 23:34 on (n1:ncpus=2)+(n2:ncpus=2)",
            "run_count":2
        },
        "1009.head":{
            "Job_Name":"survey-2",
            "job_state":"F",
            "Exit_status":271,
            "run_count":"1",
            "comment":"Job run at Wed Apr 14 at 23:34 on (n1:ncpus=2) and failed"
        }
    }
}
"""
# The same as text: long values go on in lines that begin with a tab.
TEXT = """\
Job Id: 1008.head
    Job_Name = survey-1
    job_state = R
    exec_host = n1/0*2+n2/0*
\t2
    Variable_List = PBS_O_HOME=/home/ada,PROMPT="$ ",BASH_FUNC_module%%=() {  ev
\tal `/usr/bin/modulecmd bash $*`
    run_count = 2

Job Id: 1009.head
    Job_Name = survey-2
    job_state = F
    Exit_status = 271
    run_count = 1

"""
NONE = '{"timestamp":1618436059, "pbs_version":"20.0.1", "pbs_server":"head"}'
UNKNOWN = "qstat: Unknown Job Id 1010.head"


def test_an_answer_is_read_as_json_and_as_text() -> None:
    for found in (jobs(ANSWER), jobs_of_text(TEXT)):
        assert list(found) == ["1008.head", "1009.head"]
        assert sight(found["1008.head"]) == Sight(Phase.RUNNING, restarts=1)
        seen = sight(found["1009.head"])
        assert seen[:3] == (
            Phase.ENDED, "killed by signal 15 (SIGTERM): it was cancelled, or ran into its walltime", -15
        )  # fmt: skip
    assert jobs(NONE) == {}
    assert jobs_of_text("") == {}
    for broken in ("", ANSWER[:-20], '{"Jobs": []}', "[]"):
        with pytest.raises(ValueError):  # noqa: PT011
            jobs(broken)


@pytest.mark.parametrize(
    ("told", "phase", "reason"),
    [
        ({"job_state": "Q"}, Phase.PENDING, ""),
        ({"job_state": "Q", "comment": "Job Run at some time before"}, Phase.PENDING, ""),
        (
            {"job_state": "Q", "comment": "Not Running: Insufficient amount of resource: ncpus"},
            Phase.PENDING,
            "Not Running: Insufficient amount of resource: ncpus",
        ),
        (
            {"job_state": "Q", "comment": "Can Never Run: Insufficient amount of resource: mem (R: 9tb T: 1tb)"},
            Phase.PENDING,
            "Can Never Run: Insufficient amount of resource: mem (R: 9tb T: 1tb): cancel it, and ask for less",
        ),
        ({"job_state": "H"}, Phase.PENDING, "it is held: `qrls` lets it go"),
        ({"job_state": "W"}, Phase.PENDING, "it waits for its begin time"),
        ({"job_state": "R"}, Phase.RUNNING, ""),
        ({"job_state": "E"}, Phase.RUNNING, ""),
        ({"job_state": "B"}, Phase.RUNNING, ""),
        ({"job_state": "S"}, Phase.RUNNING, "it is suspended"),
        ({"job_state": "?"}, Phase.RUNNING, "PBS calls its state '?'"),
        ({}, Phase.RUNNING, "PBS calls its state ''"),
        ({"job_state": "F"}, Phase.ENDED, "it was deleted before it began"),
    ],
)
def test_where_a_job_is(told: Any, phase: Phase, reason: str) -> None:
    assert sight(told) == Sight(phase, reason, stuck="Can Never Run" in reason)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (0, 0, ""),
        ("0", 0, ""),
        (3, 3, "exit 3"),
        (127, 127, "exit 127: the command was not found"),
        (143, 143, "exit 143"),
        (265, -9, "killed by signal 9 (SIGKILL)"),
        (-29, None, "it ran into its walltime: ask for more with --time"),
        (-27, None, "it used more memory than it asked for: ask for more with --memory"),
        (-2, None, "PBS could not start it: is the home there on the nodes, and is there room?"),
        (-99, None, "PBS ended it with code -99"),
    ],
)
@pytest.mark.parametrize("state", ["F", "X", "C"])
def test_how_a_job_ended(state: str, status: Any, code: int | None, reason: str) -> None:
    assert sight({"job_state": state, "Exit_status": status}) == Sight(Phase.ENDED, reason, code)


def test_every_letter_of_pbs_is_one_of_three() -> None:
    assert sorted([*pbs_states.WAITS, *pbs_states.RUNS, *pbs_states.ENDS]) == sorted("QHWTMRBESUFXC")


@pytest.mark.parametrize(
    ("out", "id"),
    [("123.head\n", "123.head"), ("Budget: 5 h\n123.head.site.org\n", "123.head.site.org"), ("123\n", "123"),
     ("7[].head\n", "7[].head"), ("", ""), ("no such queue\n", "")],
)  # fmt: skip
def test_the_id_is_found_in_what_qsub_prints(out: str, id: str) -> None:
    assert job_id(out) == id


# -- the launcher ------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def made(**given: Any) -> Job:
        return Job("survey-1", ("python", "-m", "x y"), tmp_path / "folder", tmp_path, **given)

    return made


class Pbs:
    """PBS's commands, by answers in turn."""

    def __init__(self, *answers: Ran) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], env: Any, seconds: float) -> Ran:
        self.asked.append(argv)
        return self.answers.pop(0)


def launcher(pbs: Pbs) -> PbsLauncher:
    return PbsLauncher(command=pbs, sleep=lambda _: None, environ={})


def references(*ids: str) -> list[Reference]:
    return [Reference("pbs", id, "survey-1", "/nowhere") for id in ids]


def test_the_script_of_a_job(job: Any, tmp_path: Path) -> None:
    asked = Resources(2, 4, 3 * 2**30, 1)
    one = job(resources=asked, walltime=5400.5, options=("-q short",), prologue=("module load x",))
    assert PbsLauncher(environ={}).render(one) == f"""\
#!/bin/bash -l
#PBS -N survey-1
#PBS -j oe
#PBS -o {tmp_path}/folder/pbs-output
#PBS -V
#PBS -l select=2:ncpus=4:mem=3072mb:ngpus=1
#PBS -l place=scatter
#PBS -l walltime=01:30:01
#PBS -r y
#PBS -q short

exec >>{tmp_path}/folder/log 2>&1
cd {tmp_path} || exit 1
module load x
exec python -m 'x y'
"""


def test_directives_are_left_out_and_replaced(job: Any) -> None:
    one = job(walltime=60, options=("-l select=1:ncpus=2:mpiprocs=2", "-r n"))
    assert directives(one, without=("-V",))[3:] == ["-l walltime=00:01:00", "-l select=1:ncpus=2:mpiprocs=2", "-r n"]
    for option in ("-J 0-9", "-N other", "-o /tmp/x"):
        with pytest.raises(LaunchError, match="one flow is one job"):
            directives(job(options=(option,)))
    with pytest.raises(LaunchError, match="is not an option for qsub"):
        directives(job(options=("--queue=short",)))


def test_a_job_whose_answer_was_lost_is_found_by_its_name(job: Any) -> None:
    pbs = Pbs(Ran(None), Ran(0, "1008.head\n"))
    assert launcher(pbs).start(job()).id == "1008.head"
    assert [argv[0] for argv in pbs.asked] == ["qsub", "qselect"]
    assert pbs.asked[1] == ["qselect", "-x", "-N", "survey-1"]


def test_a_refusal_is_told_with_the_way_out(job: Any) -> None:
    pbs = Pbs(Ran(170, "", "qsub: Unknown queue\n"))
    with pytest.raises(LaunchError, match=r"PBS does not take the job: qsub: Unknown queue\. `qstat -Q` lists"):
        launcher(pbs).start(job())


def test_no_commands_on_the_path(job: Any) -> None:
    with pytest.raises(LaunchError, match=r"qsub cannot be called here.*module load pbs"):
        PbsLauncher(environ={"PATH": "/nonexistent"}).start(job())


def test_all_jobs_are_asked_for_at_once_and_the_forgotten_ones_are_gone() -> None:
    wanted = references("1008.head", "1009.head", "1010.head")
    pbs = Pbs(Ran(153, ANSWER, UNKNOWN))
    seen = launcher(pbs).look(wanted)
    assert [seen[one].phase for one in wanted] == [Phase.RUNNING, Phase.ENDED, Phase.GONE]
    assert pbs.asked == [["qstat", "-x", "-f", "-F", "json", "1008.head", "1009.head", "1010.head"]]
    assert launcher(Pbs(Ran(153, NONE, UNKNOWN))).look(wanted[2:])[wanted[2]].phase is Phase.GONE


def test_broken_json_is_asked_for_as_text() -> None:
    """Values of variables break it: a function of bash, a quote."""
    broken = json.dumps(json.loads(ANSWER)).replace('"workq"', '"work"q"')
    pbs = Pbs(Ran(0, broken), Ran(0, TEXT))
    (one,) = references("1008.head")
    assert launcher(pbs).look([one])[one].phase is Phase.RUNNING
    assert pbs.asked[1] == ["qstat", "-x", "-f", "1008.head"]


def test_a_job_is_known_by_its_number_where_the_server_has_a_longer_name() -> None:
    (one,) = references("1008.head.site.org")
    assert launcher(Pbs(Ran(0, ANSWER))).look([one])[one].phase is Phase.RUNNING


@pytest.mark.parametrize("answer", [Ran(None), Ran(1, "", "Connection refused\nqstat: cannot connect to server head")])
def test_a_question_that_fails_is_no_answer(answer: Ran) -> None:
    with pytest.raises(LaunchError, match="PBS did not say what became of its jobs"):
        launcher(Pbs(answer)).look(references("1008.head"))


def test_a_cancel_of_an_ended_job_is_no_error() -> None:
    (one,) = references("1008.head")
    for told in ("qdel: Job has finished 1008.head", "qdel: Unknown Job Id 1008.head"):
        launcher(Pbs(Ran(35, "", told))).cancel(one)
    with pytest.raises(LaunchError, match="could not be cancelled: qdel: Unauthorized"):
        launcher(Pbs(Ran(159, "", "qdel: Unauthorized Request 1008.head"))).cancel(one)


def test_variables_of_a_job_around_are_left_out() -> None:
    outer = {"PBS_JOBID": "1", "PBS_NODEFILE": "/x", "PBS_CONF_FILE": "/etc/pbs", "TMPDIR": "/x", "PATH": "/bin",
             "ANABRANCH_WALLTIME_END": "1000"}  # fmt: skip
    assert scrubbed(outer) == {"PBS_CONF_FILE": "/etc/pbs", "PATH": "/bin"}
    del outer["PBS_JOBID"], outer["ANABRANCH_WALLTIME_END"]
    assert scrubbed(outer) == outer
