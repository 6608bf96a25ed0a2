"""Records on a node's own disk, with a copy in the folder that all machines see; machines are objects here."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

import anabranch.records as kinds
from anabranch import flow, session, settings, task
from anabranch.core import states
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import FlowRunRow, LogRow
from anabranch.records import node_file, open_records, place_said
from anabranch.records.union import UnionRecords
from tests.acceptance.gates import Gate, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.runs import Row


ROOT = Path(__file__).resolve().parents[2]
WAIT = 30.0
RUN = FlowRunRow("run-1", "etl", "newt", states.RUNNING, "Running", created=10.0, resumable=True)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The disk of the node."""
    place = tmp_path / "node"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    return place


@pytest.fixture
def mine(node: Path, tmp_path: Path) -> Iterator[UnionRecords]:
    with UnionRecords(tmp_path / "home", node=True) as records:
        yield records


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[UnionRecords]:
    """A program on another machine, which keeps its own record in the folder."""
    with UnionRecords(tmp_path / "home") as records:
        yield records


def here(**details: object) -> FlowRunRow:
    me = {"pid": os.getpid(), "pid_started": process_started(os.getpid()), "host": host_name(), "heartbeat": 100.0}
    return replace(RUN, **{**me, **details})  # type: ignore[arg-type]


def write(records: UnionRecords, *rows: Row) -> None:
    records.append(rows)
    assert records.flush(WAIT)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.db"))


def test_a_program_reads_its_own_record_at_once_and_others_the_copy(
    mine: UnionRecords, elsewhere: UnionRecords, node: Path, tmp_path: Path
) -> None:
    write(mine, here())
    assert mine.flow_run("run-1") == here()
    assert mine.publish(WAIT)
    assert elsewhere.flow_run("run-1") == here()
    assert len(names(node)) == 1
    [copy] = names(tmp_path / "home")
    assert copy.endswith(".copy.db")
    assert (tmp_path / "home" / copy).stat().st_mode & 0o777 == 0o600
    assert [run.id for run in mine.flow_runs()] == ["run-1"]  # not twice


def test_the_copy_follows_by_itself(
    mine: UnionRecords, elsewhere: UnionRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_file, "EVERY_SECONDS", 0.1)
    write(mine, here())
    until(lambda: elsewhere.flow_run("run-1"), "the first copy")
    write(mine, here(state=states.COMPLETED, state_name="Completed", ended=20.0))
    until(lambda: (run := elsewhere.flow_run("run-1")) and run.ended == 20.0, "the second one")


def test_at_the_end_all_is_home_and_nothing_is_left_on_the_node(
    mine: UnionRecords, elsewhere: UnionRecords, node: Path
) -> None:
    for n in range(300):
        mine.append([LogRow(float(n), 20, "l", str(n), "run-1")])
    write(mine, here())
    mine.close()
    assert len(elsewhere.logs("run-1")) == 300
    assert list(node.iterdir()) == []
    assert mine.flow_run("run-1") == here()  # from the copy


def test_a_program_that_only_reads_makes_nothing(mine: UnionRecords, node: Path, tmp_path: Path) -> None:
    assert mine.flow_runs() == []
    mine.close()
    assert names(node) == []
    assert not (tmp_path / "home").exists()


def test_a_copy_is_read_without_locks(mine: UnionRecords, elsewhere: UnionRecords, tmp_path: Path) -> None:
    write(mine, here())
    mine.publish(WAIT)
    [copy] = (tmp_path / "home").glob("*.copy.db")
    with closing(sqlite3.connect(copy, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert elsewhere.flow_run("run-1") == here()
        assert elsewhere.check() == []


def test_words_about_runs_do_not_wait_for_a_copy(mine: UnionRecords, elsewhere: UnionRecords) -> None:
    write(mine, here(host="gone", heartbeat=5.0))
    mine.publish(WAIT)
    assert elsewhere.request_cancel("run-1")
    assert mine.cancel_requested(["run-1"]) == {"run-1"}
    assert elsewhere.claim(here()) == 1
    write(mine, here(host="gone", state=states.COMPLETED))  # as of a driver that is not gone after all
    assert mine.taken_over(["run-1"]) == {"run-1"}


VICTIM = """
import sys
from anabranch.core.runs import LogRow
from anabranch.records import node_file
from anabranch.records.union import UnionRecords
node_file.EVERY_SECONDS = node_file._MOST_SECONDS = 1e6
records = UnionRecords(sys.argv[1], node=True)
for n in range(100):
    if n == 50:
        assert records.publish(30)
    records.append([LogRow(float(n), 20, "l", str(n), "r")])
assert records.flush(30)
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_driver_loses_what_came_after_its_last_copy(
    elsewhere: UnionRecords, node: Path, tmp_path: Path
) -> None:
    """Its file stays on the node, and takes the place of the copy where somebody brings it home."""
    command = [sys.executable, "-c", VICTIM, str(tmp_path / "home")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
        finally:
            victim.send_signal(signal.SIGKILL)
    assert len(elsewhere.logs("r")) == 50
    assert elsewhere.check() == []
    [left] = node.rglob("*.db")
    [copy] = (tmp_path / "home").glob("*.copy.db")
    left.replace(copy)
    assert len(elsewhere.logs("r")) == 100


def test_where_it_cannot_go_home_it_stays_on_the_node(
    mine: UnionRecords, node: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home").write_text("in the way")
    write(mine, here())
    assert not mine.publish(WAIT)
    mine.close()
    assert len(names(node)) == 1
    assert f"the copy of the record in {tmp_path / 'home'} cannot be written: " in caplog.text


@pytest.mark.parametrize("gone", ["folder", "file"])
def test_a_record_that_was_deleted_on_the_node_goes_on_from_its_copy(
    mine: UnionRecords, elsewhere: UnionRecords, node: Path, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Cleaners of /tmp delete what is old; a new record would replace the copy."""
    write(mine, here())
    assert mine.publish(WAIT)
    [folder] = node.iterdir()
    shutil.rmtree(folder) if gone == "folder" else next(folder.glob("*.db")).unlink()
    write(mine, LogRow(1.0, 20, "l", "after", "run-1"))
    assert mine.flow_run("run-1") == here()
    mine.close()
    assert elsewhere.flow_run("run-1") == here()
    assert [row.message for row in elsewhere.logs("run-1")] == ["after"]
    assert "was deleted. It goes on from its copy" in caplog.text
    assert list(node.iterdir()) == []


def test_a_folder_of_another_with_the_name_is_left_alone(
    mine: UnionRecords, elsewhere: UnionRecords, node: Path
) -> None:
    """/tmp is everybody's; the record takes another name."""
    foreign = mine._file.path.parent
    foreign.mkdir()
    (foreign / "theirs").touch()
    write(mine, here())
    assert os.listdir(foreign) == ["theirs"]
    [own] = [path for path in node.iterdir() if path != foreign]
    assert own.stat().st_mode & 0o777 == 0o700
    mine.close()
    assert elsewhere.flow_run("run-1") == here()
    assert list(node.iterdir()) == [foreign]


def test_a_copy_that_does_not_fit_leaves_no_part_of_it(
    mine: UnionRecords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(source: object, target: BinaryIO, size: int) -> None:
        target.write(b"part")
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    write(mine, here())
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", full)
        assert not mine.publish(WAIT)
    assert os.listdir(tmp_path / "home") == []
    assert os.strerror(errno.EDQUOT) in caplog.text


def test_a_forked_copy_of_the_program_leaves_the_record_alone(mine: UnionRecords, node: Path) -> None:
    write(mine, here())
    child = os.fork()
    if not child:
        mine.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(names(node)) == 1
    write(mine, here(state=states.COMPLETED))
    assert mine.flow_run("run-1") == here(state=states.COMPLETED)


@pytest.mark.parametrize(
    ("network", "lockable", "shared", "said"),
    [
        (False, True, "auto", "runs.db (on this machine alone)"),
        (True, True, "auto", "runs.db.d (a network file system: a file for each driver)"),
        (True, False, "auto", "runs.db.d (copies, every few seconds, of the files that drivers have on their nodes)"),
        (False, True, "node", "runs.db.d (copies, every few seconds, of the files that drivers have on their nodes)"),
        (True, False, "true", "runs.db.d (a network file system: a file for each driver)"),
        (True, True, "false", "runs.db (on this machine alone)"),
    ],
)
def test_how_it_is_kept_is_chosen_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: bool, lockable: bool, shared: str, said: str
) -> None:
    monkeypatch.setattr(kinds, "on_network", lambda folder: network)
    monkeypatch.setattr(kinds, "locks", lambda folder: lockable)
    assert place_said(tmp_path / "runs.db", shared=shared) == f"{tmp_path}/{said}"
    with open_records(tmp_path / "runs.db", shared=shared) as records:
        assert isinstance(records, UnionRecords) is ("runs.db.d" in said)


def test_a_flow_with_its_record_on_the_node_goes_on_elsewhere(
    node: Path, tmp_path: Path, elsewhere: UnionRecords
) -> None:
    """A run that failed is resumed by a program that has the copy alone: what had ended is not run again."""
    ran, gate = tmp_path / "ran", Gate(tmp_path / "gate")

    @task
    def note(x: int) -> int:
        with open(ran, "a") as file:
            file.write(f"{x}\n")
        if x == 7 and not gate.is_open:
            raise ValueError("not yet")
        return x

    @flow(resumable=True)
    def study() -> int:
        return sum(note.map(range(10)).result())

    def once() -> object:
        home = tmp_path / "settings"
        chosen = settings.load({}, home=home, records=str(tmp_path / "home.db"), records_shared="node", progress=False)
        now = session.Session(chosen)
        before = session.use(now)
        try:
            return study.with_options(run_key="once")(return_state=True)
        finally:
            session.use(before)
            now.close()

    assert once().is_failed()  # type: ignore[attr-defined]
    assert list(node.iterdir()) == []
    gate.open()
    assert once().result() == 45  # type: ignore[attr-defined]
    assert sorted(ran.read_text().split(), key=int) == sorted([*map(str, range(10)), "7"], key=int)
