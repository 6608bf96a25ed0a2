"""The queue of an elastic cluster in Slurm and PBS: what it hands over, and what it makes of what these say."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.batch import pbs_states, slurm_states
from anabranch.batch.commands import Ran
from anabranch.batch.shared_look import SharedLook, file_of
from anabranch.batch.silences import is_silence
from anabranch.batch.slurm import Slurm
from anabranch.clusters import batch_queue
from anabranch.clusters.batch_queue import seen_of
from anabranch.clusters.job_spec import JobSpec
from anabranch.clusters.pbs import PBSQueue
from anabranch.clusters.scaling import Seen
from anabranch.clusters.slurm import SlurmQueue
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase, Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

NAME = "fit-1a2b"
SPEC = JobSpec(NAME, 2, 2**30, 2, 3600.0, queue="short", account="physics", directives=["--qos=long"], logs="/logs")


class Answers:
    """A command that gives one answer after another, and keeps what was asked."""

    def __init__(self, *answers: Ran) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
        self.asked.append(" ".join(argv))
        return self.answers.pop(0)


@pytest.fixture
def slurm(tmp_path: Path) -> Callable[..., tuple[SlurmQueue, Answers]]:
    def made(*answers: Ran, every: float = 0.0) -> tuple[SlurmQueue, Answers]:
        command = Answers(*answers)
        queue = SlurmQueue(SPEC, {}, tmp_path, every)
        queue._slurm = queue._system = Slurm({"SLURM_CLUSTER_NAME": "east"}, command)
        queue.render = lambda name, addresses: "#!/bin/bash\n"  # type: ignore[method-assign]
        return queue, command

    return made


def line(id: str, state: str, reason: str = "None", name: str = NAME) -> str:
    return f"{id}|{name}|{state}|{reason}|0|0|\n"


@pytest.mark.parametrize(
    ("state", "reason", "seen"),
    [
        ("PENDING", "Resources", Seen("queued", "Resources: it waits for nodes to become free")),
        ("PENDING", "SomethingNew", Seen("queued", "SomethingNew")),
        ("CONFIGURING", "None", Seen("queued")),
        ("RUNNING", "None", Seen("running")),
        ("NEVER_HEARD_OF", "None", Seen("running")),  # a word that is not known is no end
        ("COMPLETED", "None", Seen("ended", "it has come to its end")),
        ("NODE_FAIL", "NodeDown", Seen("ended", "NODE_FAIL: a node of it failed")),
    ],
)
def test_what_a_line_of_squeue_means(state: str, reason: str, seen: Seen) -> None:
    assert seen_of(slurm_states.sight(slurm_states.lines(line("11", state, reason))[0])) == seen


def test_a_job_that_can_never_begin_gives_no_hope() -> None:
    seen = seen_of(slurm_states.sight(slurm_states.lines(line("12", "PENDING", "PartitionConfig"))[0]))
    assert seen.hopeless
    assert "ask for less" in seen.reason
    told = {"job_state": "Q", "comment": "Can Never Run: Insufficient amount of resource: ncpus (R: 640 A: 64 T: 64)"}
    assert seen_of(pbs_states.sight(told)).hopeless
    assert not seen_of(pbs_states.sight({"job_state": "Q", "comment": "Not Running: ncpus"})).hopeless


def test_a_job_is_handed_over_with_its_choices_on_the_command_line(slurm: Any) -> None:
    """SBATCH_PARTITION in the environment is stronger than a directive in the script."""
    queue, command = slurm(Ran(0, "welcome\n17\n"))
    assert asyncio.run(queue.submit("fit-1a2b-1", ["tls://a:1"])) == "17"
    assert command.asked[0].startswith("sbatch --parsable --partition=short --account=physics /")


@pytest.mark.parametrize(
    ("answer", "silent", "said"),
    [
        (Ran(None), True, "sbatch did not answer: no answer in time"),
        (Ran(1, "", "sbatch: error: Batch job submission failed: Socket timed out"), True, "sbatch did not answer"),
        (Ran(1, "", "sbatch: error: invalid partition specified: x"), False, "sbatch does not take the job: sbatch"),
        (Ran(0, "no number"), False, "sbatch gave no job's number: 'no number'"),
    ],
)
def test_a_job_that_is_not_handed_over_is_told_from_a_silence(
    slurm: Any, answer: Ran, silent: bool, said: str
) -> None:
    queue, _ = slurm(answer)
    with pytest.raises(LaunchError) as error:
        asyncio.run(queue.submit("fit-1a2b-1", ["tls://a:1"]))
    assert str(error.value).startswith(said)
    assert is_silence(str(error.value)) == silent


def test_one_question_is_for_all_jobs_and_for_all_programs(slurm: Any, tmp_path: Path) -> None:
    queue, command = slurm(Ran(0, line("17", "RUNNING") + line("18", "PENDING", "Priority")), every=3600.0)
    first = asyncio.run(queue.look(["17", "18"]))
    assert {id: seen.phase for id, seen in first.items()} == {"17": "running", "18": "queued"}
    assert asyncio.run(queue.look(["17", "19"])) == {"17": Seen("running")}, "nothing is known of the new one yet"
    other, silent = slurm(every=3600.0)  # another program
    assert asyncio.run(other.look(["18"])).keys() == {"18"}
    assert command.asked == [f"squeue -h -t all --me -n {NAME} -O {slurm_states.FORMAT}"]
    assert silent.asked == []


def test_the_question_of_a_command_is_for_the_jobs_of_clusters_too(slurm: Any, tmp_path: Path) -> None:
    queue, _ = slurm(Ran(0, line("17", "PENDING")), every=30.0)
    asyncio.run(queue.look(["17"]))
    submitted = Reference("slurm", "30", "survey-1", "/jobs/survey-1")
    command = Answers(Ran(0, line("17", "RUNNING") + line("30", "RUNNING", name="survey-1")))
    file = file_of(tmp_path, "slurm")
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, "asked": known["asked"] - 31.0}))
    shared = SharedLook(Slurm({}, command), file)
    assert shared.look([submitted])[submitted].phase is Phase.RUNNING
    assert command.asked == [f"squeue -h -t all --me -n {NAME},survey-1 -O {slurm_states.FORMAT}"]
    later, silent = slurm(every=3600.0)
    assert asyncio.run(later.look(["17"])) == {"17": Seen("running")}
    assert silent.asked == []


def test_a_job_that_slurm_has_forgotten_has_ended(slurm: Any) -> None:
    queue, _ = slurm(Ran(0, ""), Ran(1, "", "slurm_load_jobs error: Invalid job id specified"))
    assert asyncio.run(queue.look(["17"])) == {"17": Seen("ended", "Slurm knows nothing of job 17 any more")}


def test_a_question_that_fails_is_no_answer(slurm: Any) -> None:
    queue, _ = slurm(Ran(1, "", "Unable to contact slurm controller"))
    with pytest.raises(LaunchError, match="did not say what became of its jobs"):
        asyncio.run(queue.look(["17"]))


def test_strays_have_the_clusters_name_are_not_known_and_have_not_ended(slurm: Any) -> None:
    told = line("17", "RUNNING") + line("18", "PENDING") + line("19", "FAILED") + line("20", "RUNNING", name="other")
    queue, _ = slurm(Ran(0, told))
    assert asyncio.run(queue.strays(["17"])) == ["18"]


def test_many_jobs_are_cancelled_by_few_commands(slurm: Any) -> None:
    queue, command = slurm(Ran(0), Ran(1, "", "scancel: error: Kill job error on job id 101: Invalid job id specified"))
    asyncio.run(queue.cancel([str(n) for n in range(150)]))
    assert [len(words.split()) for words in command.asked] == [101, 51]


def test_the_scripts_of_both_systems(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    slurm = SlurmQueue(SPEC, {}, tmp_path).render("fit-1a2b-1", ["tls://a:1"])
    assert "#SBATCH --output=/logs/%j.log\n" in slurm
    assert "#SBATCH --mem=1024M\n" in slurm
    assert "#SBATCH --qos=long\n" in slurm
    pbs = PBSQueue(JobSpec(NAME, 2, 2**30, 2, 3600.0, skip=["-r n"], logs="/logs"), {}, tmp_path)
    text = pbs.render("fit-1a2b-1", ["tls://a:1"])
    assert "#PBS -l select=1:ncpus=2:mem=1024mb\n" in text
    assert "#PBS -o /logs/\n" in text
    assert "-r n" not in text
    assert pbs.log("fit-1a2b-1", "8.h") == "/logs/fit-1a2b.o8"


def test_without_the_library_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dask_jobqueue", None)
    with pytest.raises(Exception, match="need dask-jobqueue: pip install"):
        batch_queue._rendered("SLURM", SPEC, "x", [], {}, {})
