"""Another pod for a run after the cluster took its pod: when there is one, and when the run stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.cli import jobs, pods_again
from anabranch.cli.pods_again import IDLE, Pods, after
from anabranch.cli.submitted import Submitted
from anabranch.core import states
from anabranch.core.job_file import OWN, JobFile
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.runs import FlowRunRow, ItemBlock, MapRow
from anabranch.launch import script
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TAKEN = Sight(Phase.ENDED, "its node n2 took it back: Evicted", -15, taken=True)
REFERENCE = Reference("kubernetes", "lab/survey-1/uid-1", "survey-1", "")


class Launcher:
    """A cluster in which the Job is, or is not any more; another program may be quicker."""

    def __init__(self, *, there: bool = True, quicker: bool = False) -> None:
        self.there, self.quicker = there, quicker
        self.after: list[str] = []

    def start_again(self, reference: Reference, after: str) -> Reference | None:
        from pathlib import Path

        if self.quicker:
            script.succeed(Path(reference.folder), "lab/survey-1-uid-1/uid-2")
        if not self.there:
            return None
        self.after.append(after)
        return reference._replace(id="lab/survey-1-uid-1/uid-2")


    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        return dict.fromkeys(references, TAKEN)


@pytest.fixture
def found(tmp_path: Path) -> Submitted:
    reference = REFERENCE._replace(folder=str(tmp_path))
    script.note(reference, tmp_path)
    return Submitted(tmp_path, JobFile("id", "n", "survey", "t", "kubernetes", "survey-1"), reference)


@pytest.fixture
def records() -> MemoryRecords:
    records = MemoryRecords()
    records.append([row()])
    return records


def row(**given: Any) -> FlowRunRow:
    told = {"state": states.RUNNING, "state_name": "Running", "host": "pod-1", "pid": 7, "pid_started": 1.0,
            "incarnation": "kubernetes:a.0", **given}  # fmt: skip
    return FlowRunRow("id", "survey", "brisk-otter", told.pop("state"), told.pop("state_name"), **told)


def go_on(records: MemoryRecords, found: Submitted, launcher: Any, sight: Sight = TAKEN) -> FlowRunRow:
    now = records.flow_run("id")
    assert now is not None
    pods_again.go_on(records, now, found, sight, launcher, 5.0)
    then = records.flow_run("id")
    assert then is not None
    return then


@pytest.mark.parametrize(
    ("sight", "file", "wanted"),
    [
        (TAKEN, {}, True),
        (TAKEN._replace(phase=Phase.GONE), {}, True),
        (TAKEN._replace(taken=False), {}, False),
        (TAKEN._replace(phase=Phase.RUNNING), {}, False),
        (TAKEN, {"record": OWN}, False),
        (TAKEN, {"kind": "slurm"}, False),
    ],
)
def test_a_run_with_a_record_to_share_goes_on(sight: Sight, file: dict[str, str], wanted: bool, tmp_path: Path) -> None:
    told = {"kind": "kubernetes", "record": "", **file}
    job = JobFile("id", "n", "survey", "t", told["kind"], "survey-1", record=told["record"])
    assert pods_again.wanted(Submitted(tmp_path, job, REFERENCE), sight) is wanted


def test_its_run_is_suspended_before_another_pod_is_asked_for(records: MemoryRecords, found: Submitted) -> None:
    launcher = Launcher()
    now = go_on(records, found, launcher)
    assert now.state == states.SUSPENDED
    assert now.message == "its node n2 took it back: Evicted; another pod goes on with it"
    assert launcher.after == ["kubernetes:a.0"]
    assert pods_again.wanted(found, TAKEN)  # once more, should it be taken away again


def test_a_program_that_died_in_between_is_made_good_by_the_next(records: MemoryRecords, found: Submitted) -> None:
    launcher = Launcher()
    suspended = row(state=states.SUSPENDED, state_name="Suspended", ended=4.0)
    records.append([suspended])
    assert go_on(records, found, launcher).state == states.SUSPENDED
    assert launcher.after == ["kubernetes:a.0"]


def test_a_pod_that_had_not_begun_the_run_is_followed_without_a_word_in_the_record(found: Submitted) -> None:
    records, launcher = MemoryRecords(), Launcher()
    records.append([row(state=states.SCHEDULED, state_name="Scheduled", pid=0, host="job:survey-1", incarnation="")])
    assert go_on(records, found, launcher).state == states.SCHEDULED
    assert launcher.after == [""]


def test_where_a_person_has_deleted_the_job_no_other_pod_goes_on(records: MemoryRecords, found: Submitted) -> None:
    assert go_on(records, found, Launcher(there=False)).state == states.SUSPENDED
    [line] = records.logs("id")
    assert line.message.endswith("no other pod goes on with it: its Job was deleted")
    assert not pods_again.wanted(found, TAKEN)


def test_of_two_programs_that_see_it_the_slower_one_leaves_it_to_the_other(
    records: MemoryRecords, found: Submitted
) -> None:
    go_on(records, found, Launcher(there=False, quicker=True))
    assert records.logs("id") == []
    assert pods_again.wanted(found, TAKEN)


@pytest.mark.parametrize("idle", [0, IDLE - 1])
def test_what_was_read_before_another_program_started_the_next_job_says_nothing(
    records: MemoryRecords, found: Submitted, idle: int
) -> None:
    (found.folder / pods_again.FILE).write_text(f'{{"idle": {idle}, "done": 0, "over": false}}')
    script.succeed(found.folder, "lab/survey-1-uid-1/uid-2")
    launcher = Launcher()
    assert go_on(records, found, launcher).state == states.RUNNING
    pods_again.leave(found)
    assert launcher.after == []
    assert pods_again.may(found)


def test_pods_in_which_nothing_ends_are_not_followed_for_ever(records: MemoryRecords, found: Submitted) -> None:
    launcher = Launcher()
    for _ in range(IDLE - 1):
        go_on(records, found, launcher)
    records.append([MapRow("m", "id", "square", "map", 3), ItemBlock("m", 0, 2)])
    go_on(records, found, launcher)  # two items have ended: it counts anew
    for _ in range(IDLE - 1):
        go_on(records, found, launcher)
    assert len(launcher.after) == 2 * IDLE - 1
    go_on(records, found, launcher)
    assert len(launcher.after) == 2 * IDLE - 1
    assert not pods_again.wanted(found, TAKEN)
    assert f"no task run has ended in {IDLE} pods" in records.logs("id")[-1].message


def test_a_run_that_still_runs_ends_as_crashed_where_nothing_ever_ended(
    records: MemoryRecords, found: Submitted
) -> None:
    (found.folder / pods_again.FILE).write_text('{"idle": 2, "done": 0, "over": false}')
    now = go_on(records, found, Launcher())
    assert now.state == states.CRASHED
    assert now.message.endswith("no other pod goes on with it: no task run has ended in 3 pods")


def test_a_suspended_run_that_stays_is_not_asked_about_again(found: Submitted) -> None:
    assert pods_again.may(found)
    pods_again.leave(found)
    assert not pods_again.may(found)
    assert not pods_again.wanted(found, TAKEN)


@pytest.mark.parametrize("state", [states.SUSPENDED, states.CRASHED])
def test_a_run_goes_on_also_where_its_silent_driver_was_marked_dead_before_its_pod_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: int
) -> None:
    launcher, folder, records = Launcher(), tmp_path / "jobs" / "survey-id", MemoryRecords()
    monkeypatch.setattr(jobs, "launcher", lambda kind: launcher)
    monkeypatch.setattr(jobs, "kubernetes", lambda: launcher)
    folder.mkdir(parents=True)
    JobFile("id", "brisk-otter", "survey", "t", "kubernetes", "survey-1").write(folder)
    script.note(REFERENCE._replace(folder=str(folder)), folder)
    ended = row(state=state, state_name=states.NAMES[state][0], ended=4.0)
    records.append([ended])
    jobs.settle(records, tmp_path, 500.0)
    assert launcher.after == ["kubernetes:a.0"]
    found = jobs.of_run(tmp_path, ended)
    assert found is not None
    assert jobs.goes_on(tmp_path, ended, found)
    # A pod that is lost with its node may be there for ever: nobody waits for that of a cancelled run.
    assert not jobs.goes_on(tmp_path, replace(ended, state=states.CANCELLED), found)


def test_progress_is_counted_between_two_pods() -> None:
    assert after(Pods(2, 5), 6) == Pods(0, 6)
    assert after(Pods(1, 5), 5) == Pods(2, 5)
    assert after(Pods(2, 5), 5) == Pods(3, 5, over=True)
