"""Which record a pod writes to, what its end says, and which runs it does not begin."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from anabranch.cli import pod, pod_jobs
from anabranch.cli.pod_jobs import Code
from anabranch.core import states
from anabranch.core.errors import KubernetesError, LaunchError
from anabranch.core.incarnations import Incarnation
from anabranch.core.job_file import OWN, JobFile
from anabranch.core.launching import Job, Phase, Reference, Sight
from anabranch.core.pod_job import REPLACED, VARIABLE, ended_line, unpacked
from anabranch.core.runs import JOB, FlowRunRow
from anabranch.entrypoints.target import target_of
from anabranch.launch.kubernetes_options import options
from anabranch.records.memory import MemoryRecords
from anabranch.settings import Settings

ADDRESS = "postgresql://ada@db/records"
SETTINGS = Settings(home=Path("/home/ada/.anabranch"))


@pytest.mark.parametrize(
    ("given", "options", "found"),
    [
        ({}, (), (OWN, {})),
        ({"records": "/scratch/records.db"}, (), (OWN, {})),
        ({"records": ADDRESS}, (), ("", {"ANABRANCH_RECORDS": ADDRESS})),
        ({"records": ADDRESS, "results": "s3://b/p"}, (),
         ("", {"ANABRANCH_RECORDS": ADDRESS, "ANABRANCH_RESULTS": "s3://b/p"})),
        ({"records": "postgresql://ada:word@db/records"}, ("secret=anabranch",), ("", {})),
        ({}, ("env=ANABRANCH_HOME=/home/ada/.anabranch",), ("", {})),
        ({}, ("env=ANABRANCH_HOME=/elsewhere",), (OWN, {})),
    ],
)  # fmt: skip
def test_the_record_is_shared_where_the_pod_reaches_it(given: dict[str, Any], options: Any, found: Any) -> None:
    assert pod_jobs.record_of(replace(SETTINGS, **given), options) == found


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("records", "postgresql://ada:word@db/records"),
        ("records", "postgresql://db/records?user=ada&password=word"),
        ("results", "sftp://ada:word@host/values"),
    ],
)
def test_a_password_does_not_travel_in_a_manifest(name: str, address: str) -> None:
    chosen = replace(SETTINGS, **{name: address})
    with pytest.raises(LaunchError, match=f"generic anabranch --from-literal=ANABRANCH_{name.upper()}=") as caught:
        pod_jobs.record_of(chosen, ())
    assert "word@" not in str(caught.value)
    assert "=word" not in str(caught.value)
    assert address not in pod_jobs.record_of(chosen, ("secret=anabranch",))[1].values()


def test_a_flow_travels_as_the_text_of_its_file_and_one_in_the_image_as_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    (tmp_path / "survey.py").write_text("print('$HOME')\n")
    job = Job("j", ("x",), tmp_path / "f", tmp_path, options=("image=i", "env=A=1=2"))
    file = JobFile("id", "n", "survey", "t", "kubernetes", "j")

    def packed(target: str, *options: str) -> tuple[Job, Any]:
        told, _ = pod_jobs.for_a_pod(
            replace(job, options=(*job.options, *options)), file, Code(target_of(target)), ["n=5"], "thread"
        )
        return told, unpacked(told.environment[VARIABLE])

    told, parcel = packed(f"{tmp_path}/survey.py:survey")
    assert (parcel.place, parcel.words) == ("survey.py:survey", ("n=5",))
    assert parcel.files == {"survey.py": "print('$HOME')\n"}
    assert (parcel.file.record, parcel.runner, told.cwd) == (OWN, "thread", Path())
    assert told.environment["A"] == "1=2"
    assert "ANABRANCH_HOME" not in told.environment
    told, parcel = packed(f"{tmp_path}/survey.py:survey", "in-image=/app/survey.py")
    assert (parcel.place, parcel.files) == ("/app/survey.py:survey", {})
    assert "in-image=/app/survey.py" not in told.options
    assert packed("anabranch.demo:survey")[1].place == "anabranch.demo:survey"


def test_an_image_is_for_pods_alone() -> None:
    assert pod_jobs.options_of("kubernetes", "i", "/f.py", "", ["a=b"]) == ("image=i", "in-image=/f.py", "a=b")
    for given in (("i", "", ""), ("", "/f.py", ""), ("", "", "s3://b/p")):
        with pytest.raises(click.UsageError, match="a job of slurm has none"):
            pod_jobs.options_of("slurm", *given, [])
    with pytest.raises(click.UsageError, match="either in the image"):
        pod_jobs.options_of("kubernetes", "i", "/f.py", "s3://b/p", [])


def test_code_of_a_storage_travels_as_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    (tmp_path / "code" / "flows").mkdir(parents=True)
    (tmp_path / "code" / "flows" / "survey.py").write_text("x = 1\n")
    code = pod_jobs.code_of("flows/survey.py:survey", f"file://{tmp_path}/code", tmp_path / "home")
    assert code.target.place.read_text() == "x = 1\n"
    job = Job("j", ("x",), tmp_path / "f", tmp_path, options=("image=i",))
    told, _ = pod_jobs.for_a_pod(job, JobFile("id", "n", "survey", "t", "kubernetes", "j"), code, [], None)
    parcel = unpacked(told.environment[VARIABLE])
    assert (parcel.place, parcel.files) == ("flows/survey.py:survey", {})
    assert parcel.storage == {"url": f"file://{tmp_path}/code"}


def test_of_git_the_pod_gets_the_commit_that_was_there(tmp_path: Path) -> None:
    repository = tmp_path / "code"
    repository.mkdir()
    (repository / "survey.py").write_text("x = 1\n")
    author = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*author, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    source = json.dumps({"git": f"file://{repository}", "local": True, "ref": "main"})
    code = pod_jobs.code_of("survey.py", source, tmp_path / "home")
    assert code.target.place.read_text() == "x = 1\n"
    assert code.storage is not None
    assert code.storage["commit"] == done.stdout.strip()


@pytest.mark.parametrize("source", ["/srv/flows", '{"image": "team:1"}', '{"gti": "https://host/r.git"}'])
def test_a_storage_that_no_pod_reaches_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="--from"):
        pod_jobs.code_of("survey.py", source, tmp_path)


class Server:
    def __init__(self, replaces: bool | KubernetesError) -> None:
        self.replaces = replaces

    def replaces_pods(self, words: Any) -> bool:
        options(words)  # as the launcher does, which refuses what it does not know
        if isinstance(self.replaces, KubernetesError):
            raise self.replaces
        return self.replaces


@pytest.mark.parametrize(
    ("server", "record", "words", "once"),
    [
        (True, OWN, ("service-account=runner",), True),
        (True, OWN, ("env=KUBECONFIG=/k",), True),
        (True, OWN, ("in-image=/app/survey.py", "service-account=runner"), True),
        (True, OWN, ("twice=allowed",), False),
        (True, "", (), False),
        (False, OWN, (), False),
        (KubernetesError("away"), OWN, (), False),  # the start of the job says so
    ],
)
def test_a_pod_asks_before_it_begins_where_the_server_replaces_pods(
    server: Any, record: str, words: tuple[str, ...], once: bool
) -> None:
    launcher: Any = Server(server)
    assert pod_jobs.once(launcher, JobFile("i", "n", "f", "t", "kubernetes", "j", record=record), words) is once


def test_a_pod_that_can_ask_nobody_is_not_submitted_where_the_server_replaces_pods() -> None:
    launcher: Any = Server(True)
    with pytest.raises(LaunchError, match=r"before 1\.26.*service-account=NAME.*twice=allowed"):
        pod_jobs.once(launcher, JobFile("i", "n", "f", "t", "kubernetes", "j", record=OWN), ("image=i",))


# -- ends ------------------------------------------------------------------------------------------

EVICTED = Sight(Phase.ENDED, "its node n2 took it back: Evicted: low on memory (pod p on n2)", -15)
DONE, EXIT_1 = Sight(Phase.ENDED, "", 0), Sight(Phase.ENDED, "exit 1", 1)
BEGAN = "12:00:00.000 | INFO    | Flow run 'brisk-otter' - Beginning flow run"


@pytest.mark.parametrize(
    ("lines", "sight", "state", "words"),
    [
        ([BEGAN, ended_line(states.COMPLETED, "Completed", "")], DONE, states.COMPLETED, "in its pod"),
        ([BEGAN, ended_line(states.FAILED, "Failed", "no good")], EXIT_1, states.FAILED, "no good"),
        ([], DONE, states.COMPLETED, "in its pod"),
        ([BEGAN, ended_line(states.CANCELLED, "Cancelled", "SIGTERM")], EVICTED, states.CRASHED, "took it back: Evic"),
        ([BEGAN, ended_line(states.CANCELLED, "Cancelled", "Ctrl")], Sight(Phase.ENDED, "exit 143", -15),
         states.CANCELLED, "Ctrl"),
        ([BEGAN, ended_line(states.RUNNING, "Running", "")], Sight(Phase.ENDED, "exit 1", 1), states.CRASHED,
         "while it was Running: exit 1; its record went with the pod"),
        (["no module"], Sight(Phase.ENDED, "exit 1", 1, ("no module",)), states.CRASHED,
         "the pod failed before the flow began: exit 1, last lines: no module"),
        ([BEGAN], Sight(Phase.ENDED, "it needed more memory", -9), states.CRASHED,
         "its driver ended with the pod: it needed more memory"),
        ([], Sight(Phase.GONE, "Job x is not there any more"), states.CRASHED, "before the flow began: Job x is not"),
    ],
)  # fmt: skip
def test_an_end_is_what_the_pod_tells_unless_the_cluster_ended_it(
    lines: list[str], sight: Sight, state: int, words: str
) -> None:
    found, message = pod_jobs.end_told(lines, sight)
    assert found == state
    assert words in message


class Unread:
    """A launcher of which no log can be had."""

    def __init__(self, code: int) -> None:
        self.error = KubernetesError("no route to host", code=code)

    def keep_log(self, reference: Reference) -> list[str]:
        raise self.error


@pytest.mark.parametrize("code", [403, 500])
def test_a_run_ends_though_its_log_cannot_be_had(code: int) -> None:
    records = MemoryRecords()
    records.append([ROW])
    launcher: Any = Unread(code)
    pod_jobs.ended(records, ROW, Reference("kubernetes", "n/j/u", "j", "/f"), EXIT_1, launcher, 5.0)
    row = records.flow_run(ROW.id)
    assert row is not None
    assert row.state == states.CRASHED
    assert row.message == "its pod ended: exit 1, last lines: the log cannot be had: no route to host"
    assert [line.message for line in records.logs(ROW.id)] == ["the log cannot be had: no route to host"]


def test_a_run_waits_for_its_log_where_the_cluster_is_away() -> None:
    records = MemoryRecords()
    records.append([ROW])
    launcher: Any = Unread(0)
    with pytest.raises(KubernetesError, match="no route"):
        pod_jobs.ended(records, ROW, Reference("kubernetes", "n/j/u", "j", "/f"), EXIT_1, launcher, 5.0)
    row = records.flow_run(ROW.id)
    assert row is not None
    assert row.state == states.RUNNING


ROW = FlowRunRow("id", "survey", "brisk-otter", states.RUNNING, "Running", host="pod-1")
ONE, TWO = (Incarnation(f"kubernetes:{uid}") for uid in "ab")


def test_a_pod_goes_on_with_the_run_of_the_one_that_it_follows_unless_that_is_over() -> None:
    begun = replace(ROW, pid=7, incarnation=str(ONE))
    for state in (states.SUSPENDED, states.CRASHED, states.RUNNING):
        pod.refuse(replace(begun, state=state), TWO, str(ONE))
    for state in (states.CANCELLED, states.COMPLETED, states.FAILED):
        with pytest.raises(click.ClickException, match="nothing is left to do"):
            pod.refuse(replace(begun, state=state), TWO, str(ONE))
    with pytest.raises(SystemExit):  # a third pod has it: that of another program's Job
        pod.refuse(replace(begun, incarnation="kubernetes:c.0"), TWO, str(ONE))


def test_a_pod_begins_its_own_run_and_no_other_pods(capsys: pytest.CaptureFixture[str]) -> None:
    pod.refuse(replace(ROW, host=f"{JOB}survey-1", state=states.SCHEDULED), ONE)
    pod.refuse(replace(ROW, pid=7, incarnation=str(ONE)), ONE)
    begun = replace(ROW, pid=7, incarnation=str(ONE))
    with pytest.raises(SystemExit) as caught:
        pod.refuse(begun, TWO)
    assert caught.value.code == REPLACED
    assert "was begun by another pod of its Job, on pod-1" in capsys.readouterr().err
    ended = replace(ROW, host=f"{JOB}survey-1", state=states.CANCELLED, state_name="Cancelled")
    with pytest.raises(click.ClickException, match="has ended as Cancelled before its pod began it"):
        pod.refuse(ended, ONE)
