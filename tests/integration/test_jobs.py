"""What the end of a job means for its run in the record, when a command looks next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch.cli import cli, jobs
from anabranch.core import states
from anabranch.core.errors import LaunchError
from anabranch.core.job_file import OWN, JobFile
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import JOB, FlowRunRow
from anabranch.launch import script
from anabranch.records.sqlite import SqliteRecords

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NOW = 1_000_000.0
ID = "01a22cd9-2ed5-7b28-b151-3fe411e6e02d"
NAME = "survey-brisk-otter-e6e02d"
OUT = Sight(Phase.ENDED, "OUT_OF_MEMORY: it used more memory than it asked for", None, ("a", "b", "Killed"))
GONE = Sight(Phase.GONE, "Slurm knows nothing of job 17 any more")


class Queue:
    """A queue that shows one thing of every job."""

    kind = "slurm"

    def __init__(self) -> None:
        self.shows: Sight | None = None
        self.asked = 0
        self.elsewhere = False

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        self.asked += 1
        if self.elsewhere:
            return {}
        if self.shows is None:
            raise LaunchError("Slurm did not say what became of its jobs: no answer in time")
        return dict.fromkeys(references, self.shows)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith(("ANABRANCH_", "SLURM_"))]:
        monkeypatch.delenv(name)
    for name in ("ENVIRONMENT", "PBS_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    folder = tmp_path / "jobs" / NAME
    folder.mkdir(parents=True)
    JobFile(ID, "brisk-otter", "survey", "survey.py", "slurm", NAME).write(folder)
    script.note(Reference("slurm", "17", NAME, str(folder)), folder)
    return tmp_path


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = Queue()
    monkeypatch.setattr(jobs, "launcher", lambda kind: made)
    return made


def write(home: Path, **given: Any) -> None:
    state = given.pop("state", states.SCHEDULED)
    row = FlowRunRow(ID, "survey", "brisk-otter", state, states.NAMES[state][0], created=NOW, resumable=True, **given)
    with SqliteRecords(home / "records.db") as records:
        records.append([row])


def settled(home: Path, after: float = 100.0) -> FlowRunRow:
    with SqliteRecords(home / "records.db") as records:
        jobs.settle(records, home, NOW + after)
        row = records.flow_run(ID)
    assert row is not None
    return row


WAITS: dict[str, Any] = {"host": f"{JOB}{NAME}"}
DRIVEN: dict[str, Any] = {"host": "node7", "pid": 5, "state": states.RUNNING, "started": NOW, "heartbeat": NOW}
HERE: dict[str, Any] = {"host": host_name(), "pid": os.getpid(), "pid_started": process_started(os.getpid())}


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (
            OUT,
            "the job ended before the flow began: OUT_OF_MEMORY: it used more memory than it asked for, last lines: "
            "a | b | Killed",
        ),
        (GONE, "the job ended before the flow began: Slurm knows nothing of job 17 any more"),
        (Sight(Phase.ENDED, "", 0), "the job ended before the flow began: exit 0"),
    ],
)
def test_a_run_whose_job_has_ended_without_it_has_crashed(home: Path, queue: Queue, seen: Sight, message: str) -> None:
    write(home, **WAITS)
    queue.shows = seen
    row = settled(home)
    assert (row.state_name, row.message) == ("Crashed", message)
    with SqliteRecords(home / "records.db") as records:
        assert [line.message for line in records.logs(ID)] == list(seen.last)


def test_a_driver_that_went_with_its_job_is_told_with_the_jobs_reason(home: Path, queue: Queue) -> None:
    write(home, **DRIVEN)
    queue.shows = OUT
    row = settled(home, after=21.0)
    assert row.state_name == "Crashed"
    assert row.message.startswith("its driver ended with the job: OUT_OF_MEMORY: it used more memory")


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (WAITS, Sight(Phase.PENDING, "Priority")),
        (WAITS, Sight(Phase.RUNNING)),
        ({**DRIVEN, "heartbeat": NOW + 90.0}, OUT),  # it lives: what the queue says is of an earlier start
        (DRIVEN, Sight(Phase.PENDING, "BeginTime", restarts=1)),  # it starts again
        ({**HERE, "heartbeat": NOW + 90}, OUT),
        ({"state": states.COMPLETED, "host": "node7", "pid": 5, "ended": NOW}, GONE),  # forgotten: the record knows
        ({"state": states.SUSPENDED, "host": "node7", "pid": 5, "ended": NOW}, OUT),
    ],
)
def test_other_runs_are_left_as_they_are(home: Path, queue: Queue, given: dict[str, Any], seen: Sight) -> None:
    write(home, **given)
    queue.shows = seen
    assert settled(home).state == given.get("state", states.SCHEDULED)


def test_one_queue_that_does_not_answer_hides_nothing_of_another(
    home: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Queue()
    other.kind, other.shows = "process", OUT
    monkeypatch.setattr(jobs, "launcher", lambda kind: other if kind == "process" else queue)
    write(home, **WAITS)
    id, name = ID.replace("6e02d", "6e02e"), NAME.replace("6e02d", "6e02e")
    folder = home / "jobs" / name
    folder.mkdir()
    JobFile(id, "idle-otter", "survey", "survey.py", "process", name).write(folder)
    script.note(Reference("process", f"{host_name()}:1:0.0", name, str(folder)), folder)
    row = FlowRunRow(id, "survey", "idle-otter", states.SCHEDULED, "Scheduled", created=NOW, host=f"{JOB}{name}")
    with SqliteRecords(home / "records.db") as records:
        records.append([row])
        records.flush(30.0)
        with pytest.raises(LaunchError, match="did not say"):
            jobs.settle(records, home, NOW + 100.0)
        ended = records.flow_run(id)
    assert ended is not None
    assert ended.state_name == "Crashed"


def test_one_run_that_cannot_be_ended_leaves_no_other_open(
    home: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, **WAITS)
    queue.shows = OUT
    other = ID.replace("6e02d", "6e02e")
    folder = home / "jobs" / "other-6e02e"
    folder.mkdir()
    JobFile(other, "idle-otter", "survey", "survey.py", "slurm", folder.name).write(folder)
    script.note(Reference("slurm", "18", folder.name, str(folder)), folder)
    tried: list[str] = []

    def end(records: Any, row: FlowRunRow, *_: Any) -> None:
        tried.append(row.id)
        if len(tried) == 1:
            raise LaunchError("its log cannot be read")

    monkeypatch.setattr(jobs, "end", end)
    row = FlowRunRow(
        other, "survey", "idle-otter", states.SCHEDULED, "Scheduled", created=NOW, host=f"{JOB}{folder.name}"
    )
    with SqliteRecords(home / "records.db") as records:
        records.append([row])
        records.flush(30.0)
        with pytest.raises(LaunchError, match="its log cannot be read"):
            jobs.settle(records, home, NOW + 100.0)
    assert sorted(tried) == [ID, other]


class Cluster(Queue):
    """A cluster whose pods go on, or do not, once their flow has ended."""

    kind = "kubernetes"

    def __init__(self, lingers: bool) -> None:
        super().__init__()
        self.stays = lingers
        self.did: list[str] = []

    def lingers(self, reference: Reference) -> bool:
        return self.stays

    def keep_log(self, reference: Reference) -> list[str]:
        self.did.append("keep")
        return []

    def cancel(self, reference: Reference) -> None:
        self.did.append("cancel")


@pytest.mark.parametrize(("lingers", "did"), [(True, ["keep", "cancel"]), (False, [])])
@pytest.mark.parametrize("record", ["", OWN])
def test_a_pod_that_goes_on_after_its_flow_is_deleted_once_its_log_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, lingers: bool, did: list[str], record: str
) -> None:
    cluster = Cluster(lingers)
    monkeypatch.setattr(jobs, "launcher", lambda kind: cluster)
    monkeypatch.setattr(jobs, "kubernetes", lambda: cluster)
    JobFile(ID, "brisk-otter", "survey", "survey.py", "kubernetes", NAME, record=record).write(home / "jobs" / NAME)
    (home / "jobs" / NAME / script.REFERENCE).unlink()
    script.note(Reference("kubernetes", "n/j/u", NAME, str(home / "jobs" / NAME)), home / "jobs" / NAME)
    write(home, **WAITS)
    cluster.shows = Sight(Phase.ENDED, "exit 3", 3)
    assert settled(home).state_name == "Crashed"
    assert cluster.did == (did or (["keep"] if record == OWN else []))


def test_a_cluster_that_is_away_is_told_and_the_runs_of_another_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(lingers=False)

    def look(references: Iterable[Reference]) -> dict[Reference, Sight]:
        found = list(references)
        if any(one.cluster == "east https://east" for one in found):
            raise LaunchError("east cannot be reached")
        return dict.fromkeys(found, Sight(Phase.ENDED, "exit 3", 3))

    monkeypatch.setattr(cluster, "look", look)
    monkeypatch.setattr(jobs, "launcher", lambda kind: cluster)
    monkeypatch.setattr(jobs, "kubernetes", lambda: cluster)
    ids = {context: ID[:-1] + digit for context, digit in (("east", "1"), ("west", "2"))}
    with SqliteRecords(home / "records.db") as records:
        for context, id in ids.items():
            folder = home / "jobs" / f"job-{id[-6:]}"
            folder.mkdir()
            JobFile(id, context, "survey", "survey.py", "kubernetes", folder.name).write(folder)
            where = f"{context} https://{context}"
            script.note(Reference("kubernetes", f"n/{context}/u", folder.name, str(folder), where), folder)
            host = f"{JOB}{folder.name}"
            records.append([FlowRunRow(id, "survey", context, states.SCHEDULED, "Scheduled", created=NOW, host=host)])
        records.flush(30.0)
        with pytest.raises(LaunchError, match="east cannot be reached"):
            jobs.settle(records, home, NOW + 100.0)
        rows = {context: records.flow_run(id) for context, id in ids.items()}
    assert {context: row.state_name for context, row in rows.items() if row} == {"east": "Scheduled", "west": "Crashed"}


def test_a_queue_that_does_not_answer_ends_no_run_and_hides_no_record(home: Path, queue: Queue) -> None:
    """For some minutes the controller is away: jobs that run on must not be taken for ended."""
    write(home, **WAITS)
    with pytest.raises(LaunchError, match="did not say"):
        settled(home)
    (home / "jobs" / f".queue-slurm-{host_name()}").unlink()
    done = CliRunner().invoke(cli, ["runs"])
    assert done.exit_code == 0
    assert "Warning: Slurm did not say what became of its jobs" in done.stderr
    assert "brisk-otter  survey  Scheduled" in done.stdout


def test_a_run_whose_job_is_in_another_cluster_is_left_as_it_is(home: Path, queue: Queue) -> None:
    write(home, **WAITS)
    queue.elsewhere = True
    assert settled(home).state == states.SCHEDULED
    assert "nothing is known of it here" in CliRunner().invoke(cli, ["run", "show", "brisk-otter"]).stdout


@pytest.mark.parametrize(("variable", "value"), [("ENVIRONMENT", "BATCH"), ("PBS_ENVIRONMENT", "PBS_BATCH")])
def test_no_batch_job_asks(home: Path, queue: Queue, monkeypatch: Any, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    write(home, **WAITS)
    queue.shows = OUT
    assert settled(home).state == states.SCHEDULED
    assert queue.asked == 0


def test_a_run_without_a_job_asks_nobody(home: Path, queue: Queue) -> None:
    write(home, **DRIVEN)
    (home / "jobs" / NAME / "job.json").unlink()
    settled(home)
    assert queue.asked == 0


def test_a_job_is_found_by_its_run_and_by_no_other(home: Path) -> None:
    row = FlowRunRow(ID, "survey", "brisk-otter", states.RUNNING)
    found = jobs.of_run(home, row)
    assert found is not None
    assert (found.folder, found.reference and found.reference.id) == (home / "jobs" / NAME, "17")
    other = FlowRunRow(ID.replace("01a2", "01a3"), "survey", "brisk-otter", states.RUNNING)  # of the same last digits
    assert jobs.of_run(home, other) is None
    assert jobs.of_run(home / "elsewhere", row) is None


def test_folders_of_jobs_go_with_their_runs(home: Path) -> None:
    write(home, **WAITS)
    kept, gone, young = (home / "jobs" / name for name in (NAME, "gone", "young"))
    for folder, submitted in ((gone, NOW - 10), (young, NOW + 10)):
        folder.mkdir()
        (folder / "log").write_text("words")
        JobFile("another", "a", "survey", "survey.py", "slurm", folder.name, submitted=submitted).write(folder)
    (home / "jobs" / "not-ours").mkdir()
    made_at(NOW - 10, home)
    made_at(NOW + 10, young)
    with SqliteRecords(home / "records.db") as records:
        jobs.tidy(records, home, NOW)
    assert sorted(path.name for path in (home / "jobs").iterdir()) == sorted([kept.name, young.name, "not-ours"])


def made_at(when: float, folder: Path) -> None:
    """Let a folder and all in it be of this age."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (when, when))


def test_folders_of_pilots_go_with_their_runs_too(home: Path) -> None:
    write(home, **WAITS)
    kept, gone, never_begun, elsewhere = (home / "jobs" / f"slurm-{n}-0a1b2c3d" for n in range(4))
    for folder in (kept, gone, never_begun, elsewhere):
        (folder / "7.0").mkdir(parents=True)
        (folder / "idle").write_text("1")
        (folder / "7.0" / "driver.json").write_text("a key of a killed driver's cluster")
    for folder, run in ((kept, ID), (gone, "another"), (elsewhere, "in another record")):
        (folder / "run").write_text(f"{run}\n")
    made_at(NOW - 10, home)
    os.utime(elsewhere / "idle", (NOW + 10, NOW + 10))  # its run is in another record: the job started again since
    with SqliteRecords(home / "records.db") as records:
        jobs.tidy(records, home, NOW)
    assert sorted((home / "jobs").iterdir()) == sorted([home / "jobs" / NAME, kept, elsewhere])


def test_a_run_that_ended_is_gone_on_with_while_its_job_may_start_again(home: Path, queue: Queue) -> None:
    def row(state: int, pid: int = 5) -> FlowRunRow:
        return FlowRunRow(ID, "survey", "brisk-otter", state, pid=pid, host="node7")

    found = jobs.of_run(home, row(states.CANCELLED))
    assert found is not None
    queue.shows = Sight(Phase.PENDING, "BeginTime", restarts=1)
    for state in (states.CRASHED, states.CANCELLED, states.SUSPENDED):
        assert jobs.goes_on(home, row(state), found)
        assert jobs.looked(home, row(state), found) == "pending, started again (restart 1): BeginTime"
        assert not jobs.goes_on(home, row(state, pid=0), found)  # it never began
    for state in (states.COMPLETED, states.FAILED):
        assert not jobs.goes_on(home, row(state), found)
        assert jobs.looked(home, row(state), found) == ""  # the look may be older than the run's end


def test_a_run_is_gone_on_with_by_a_job_that_was_noted_as_its_follower_meanwhile(
    home: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder was read before the first job noted the second, and the queue was asked after the first one's end."""
    row = FlowRunRow(ID, "survey", "brisk-otter", states.SUSPENDED, pid=5, host="node7")
    found = jobs.of_run(home, row)
    assert found is not None
    monkeypatch.setattr(jobs, "every", 0.0)
    queue.shows = Sight(Phase.ENDED, "", 75)
    assert not jobs.goes_on(home, row, found)
    script.succeed(found.folder, "18")
    assert jobs.goes_on(home, row, found)
    later = jobs.of_run(home, row)
    assert later is not None
    assert later.reference is not None
    assert later.reference.id == "18"
    assert not jobs.goes_on(home, row, later)


def test_the_job_that_would_go_on_with_an_ended_run_is_cancelled(
    home: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[jobs.Submitted] = []
    monkeypatch.setattr(jobs, "cancel", cancelled.append)
    write(home, state=states.SUSPENDED, host="node7", pid=5, ended=NOW)
    queue.shows = Sight(Phase.PENDING, "BeginTime", restarts=1)
    done = CliRunner().invoke(cli, ["run", "cancel", "brisk-otter"])
    assert "has already ended as Suspended; its job, which would have resumed it, is cancelled" in done.output
    assert [one.reference and one.reference.id for one in cancelled] == ["17"]
