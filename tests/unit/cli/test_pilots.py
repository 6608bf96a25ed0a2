"""What the driver tells of its pilots, and what one of these says of a first job that has ended."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch import session as sessions
from anabranch.cli import cli, pilots, submit
from anabranch.clusters.rendezvous import Rendezvous
from anabranch.core import states
from anabranch.core.errors import LaunchError
from anabranch.core.job_file import JobFile
from anabranch.core.launching import Job, Phase, Reference, Sight
from anabranch.launch import script

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = """#!/bin/sh
echo "$(basename "$0") $*" >> {calls}
echo "sbatch: error: {refusal}" >&2
exit {code}
"""
FILE = JobFile("id", "brisk-otter", "survey", "survey.py", "slurm", "survey-1", pilots=3)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The rows of the run's log."""
    rows: list[Any] = []
    records = SimpleNamespace(append=rows.extend)
    monkeypatch.setattr(sessions, "current", lambda: SimpleNamespace(records=records))
    return rows


def test_a_log_that_cannot_be_written_does_not_end_the_thread_that_hears(
    tmp_path: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **given: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(pilots.click, "echo", full)
    crew = pilots.Pilots(tmp_path, FILE, again=False)
    crew.hear({"pilot": 1, "job": "9_1", "cpus": 4, "news": "joined", "why": "", "again": False})
    assert [row.message for row in told] == [
        "pilot 1 (job 9_1) has joined, with 4 processors; 2 of 3 are there"
    ]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each call of scancel and sbatch stands; sbatch takes no job."""
    folder, found = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    found.touch()
    for name, code in (("scancel", 0), ("sbatch", 1)):
        (folder / name).write_text(COMMAND.format(calls=found, refusal="a limit is reached", code=code))
        (folder / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("SBATCH_CLUSTERS", raising=False)
    return found


def started(place: Path, id: str, name: str = "survey-1") -> Reference:
    place.mkdir(parents=True, exist_ok=True)
    (place / script.REFERENCE).unlink(missing_ok=True)
    reference = Reference("slurm", id, name, str(place))
    script.note(reference, place)
    return reference


def test_a_refusal_is_told_once_and_the_users_options_are_on_each_command_line(
    tmp_path: Path, calls: Path, told: list[Any]
) -> None:
    file = replace(FILE, options=["--partition=long"])
    crew = pilots.Pilots(tmp_path, file, again=False)
    for _ in range(3):
        crew._ask_for([1, 2])
    script_ = tmp_path / pilots.FOLDER / script.SCRIPT
    assert calls.read_text().splitlines() == [f"sbatch --parsable --partition=long --array=1,2 {script_}"] * 3
    [row] = told
    assert row.message.startswith("no other pilots take the place of 1, 2 so far: Slurm does not take the job: a limit")


def test_the_users_options_are_kept_for_pilots_that_are_asked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    files: list[JobFile] = []

    def start(launcher: object, job: object, row: object, file: JobFile, *others: object) -> Reference:
        files.append(file)
        return Reference("slurm", "17", file.name, "")

    monkeypatch.setattr(submit, "start", start)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text("from anabranch import flow\n\n@flow\ndef plain():\n    pass\n")
    for pilots_ in ("3", "1"):
        words = ["submit", "slurm", "flows.py:plain", "--pilots", pilots_, "--option=--partition=long"]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
    assert [file.options for file in files] == [["--partition=long"], []]


@pytest.mark.parametrize(("id", "option"), [("17", ""), ("17;b", "--clusters=b ")])
def test_pilots_are_cancelled_in_the_cluster_they_are_in(tmp_path: Path, calls: Path, id: str, option: str) -> None:
    started(tmp_path / pilots.FOLDER, id, "survey-1-pilots")
    pilots.cancel(tmp_path)
    assert calls.read_text() == f"scancel {option}--name=survey-1-pilots\n"


def test_pilots_whose_start_had_no_answer_are_cancelled_with_the_first_job(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm may have taken them all the same."""
    first = Job("survey-1", ("true",), tmp_path / "first", tmp_path, options=("--clusters=a,b",))
    ends: list[int] = []
    records = SimpleNamespace(publish=lambda seconds: None, end=lambda row, state, message: ends.append(state))
    monkeypatch.setattr("anabranch.session.current", lambda: SimpleNamespace(records=records, write=lambda rows: None))
    monkeypatch.setattr("anabranch.runs.resumed.keep_parameters", lambda *args, **given: None)
    cancelled: list[Reference] = []

    def start(job: Job) -> Reference:
        if job.copies:
            raise LaunchError("Slurm does not answer")
        return Reference("slurm", "17", job.name, str(job.folder))

    launcher: Any = SimpleNamespace(start=start, cancel=cancelled.append)
    row: Any = SimpleNamespace(id="id", state=states.SCHEDULED, state_name="Scheduled", created=0.0)
    with pytest.raises(LaunchError, match="does not answer"):
        submit.start(launcher, first, row, FILE, {}, pilots.beside(first, 3))
    assert calls.read_text().splitlines() == [f"scancel --clusters={name} --name=survey-1-pilots" for name in "ab"]
    assert [one.id for one in cancelled] == ["17"]
    assert ends == [states.CRASHED]


@pytest.mark.parametrize(("followed", "over"), [(False, True), (True, False)])
def test_a_run_whose_first_job_is_followed_meanwhile_is_not_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, followed: bool, over: bool
) -> None:
    first = started(tmp_path, "17")
    (tmp_path / pilots.FOLDER).mkdir()

    def look(references: list[Reference]) -> dict[Reference, Sight]:
        assert references == [first]
        if followed:
            script.succeed(tmp_path, "18")
        return {first: Sight(Phase.ENDED, "TIMEOUT", None)}

    monkeypatch.setattr(pilots, "Slurm", lambda: SimpleNamespace(look=look))
    pilots.end_with_the_first(tmp_path)
    found = Rendezvous.read(pilots.meeting(tmp_path))
    assert (found is not None and not found.engine) == over
