"""Jobs alike of Slurm: handed over as one array, found and cancelled by their name, asked for anew by their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.batch.commands import Ran
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Job, Phase
from anabranch.launch.slurm import directives
from anabranch.launch.slurm_copies import SlurmCopies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS = """\
17_1|job|RUNNING|None|0|0|
17_2|job|COMPLETED|None|0|0|
17_3|job|FAILED|NonZeroExitCode|0|32512|
21_[2,4]|job|PENDING|Resources|0|0|
30_5|other|RUNNING|None|0|0|
"""


class Commands:
    """Slurm's commands, by a list of answers."""

    def __init__(self, *answers: Ran) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], env: Any, seconds: float) -> Ran:
        self.asked.append(argv)
        return self.answers.pop(0)


def copies(folder: Path, *answers: Ran, **given: Any) -> tuple[SlurmCopies, Commands]:
    commands = Commands(*answers)
    return SlurmCopies(folder, "job", environ={}, command=commands, **given), commands


def test_they_are_one_array_with_a_log_each(tmp_path: Path) -> None:
    found = directives(Job("job", ("true",), tmp_path / "job%", tmp_path, copies=3))
    assert "--array=1-3" in found
    assert f"--output={tmp_path}/job%%/log-%a" in found


def test_they_are_seen_by_their_numbers_whatever_ids_they_have(tmp_path: Path) -> None:
    """One was asked for anew: its number stands in two arrays."""
    (tmp_path / "log-3").write_text("no such module\n")
    jobs, commands = copies(tmp_path, Ran(0, ROWS))
    found = jobs.look()
    assert {number: seen.phase for number, seen in found.items()} == {
        1: Phase.RUNNING, 2: Phase.PENDING, 3: Phase.ENDED, 4: Phase.PENDING,
    }  # fmt: skip
    assert found[3].last == ("no such module",)
    assert len(commands.asked) == 1


def test_a_question_that_fails_is_no_answer(tmp_path: Path) -> None:
    jobs, _ = copies(tmp_path, Ran(1, "", "slurm_load_jobs error: Unable to contact slurm controller"))
    with pytest.raises(LaunchError, match="did not say what became"):
        jobs.look()


def test_some_are_asked_for_anew(tmp_path: Path) -> None:
    jobs, commands = copies(tmp_path, Ran(0, "21"), Ran(1, "", "sbatch: error: Invalid job array specification"))
    assert jobs.start([2, 3]) == "21"
    with pytest.raises(LaunchError, match="Ask for fewer --pilots"):
        jobs.start([2])
    assert commands.asked == [
        ["sbatch", "--parsable", "--array=2,3", f"{tmp_path}/script"],
        ["sbatch", "--parsable", "--array=2", f"{tmp_path}/script"],
    ]


def test_those_that_are_asked_for_anew_go_where_the_first_ones_went(tmp_path: Path) -> None:
    """SBATCH_PARTITION of the driver's job is stronger than what the script says."""
    jobs, commands = copies(tmp_path, Ran(0, "21"), options=["--partition=long", "--account=lab"])
    jobs.start([2])
    assert commands.asked == [
        ["sbatch", "--parsable", "--partition=long", "--account=lab", "--array=2", f"{tmp_path}/script"]
    ]


def test_in_another_cluster_they_are_seen_cancelled_and_asked_for_anew_there(tmp_path: Path) -> None:
    given = ["--clusters=a,b"]  # from which Slurm has chosen once
    jobs, commands = copies(tmp_path, Ran(0, ROWS), Ran(0, "21;b"), Ran(0), cluster="b", options=given)
    assert sorted(jobs.look()) == [1, 2, 3, 4]
    assert jobs.start([2]) == "21;b"
    jobs.cancel()
    assert commands.asked[0][:5] == ["squeue", "-h", "-t", "all", "--clusters=b"]
    assert commands.asked[1:] == [
        ["sbatch", "--parsable", "--clusters=a,b", "--clusters=b", "--array=2", f"{tmp_path}/script"],
        ["scancel", "--clusters=b", "--name=job"],
    ]


def test_they_are_cancelled_by_their_name(tmp_path: Path) -> None:
    gone = Ran(1, "", "scancel: error: Invalid job id specified")
    jobs, commands = copies(tmp_path, Ran(0), gone, Ran(1, "", "Unable to contact slurm controller"))
    jobs.cancel(waiting=True)
    jobs.cancel()
    with pytest.raises(LaunchError, match="could not be cancelled"):
        jobs.cancel()
    assert commands.asked == [
        ["scancel", "--name=job", "--state=PENDING"], ["scancel", "--name=job"], ["scancel", "--name=job"],
    ]  # fmt: skip
