"""Records in a shared folder: one file a driver, and the union of them; several drivers here are several objects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.errors import RecordsError, RunTakenError
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import FlowRunRow, HeartbeatRow, ItemBlock, ItemRow, LogRow, MapRow, StoredRow, TransitionRow
from anabranch.records import folder_retention, open_records, recorded
from anabranch.records.retention import DAY
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.sqlite_file import opened
from anabranch.records.union import UnionRecords

if TYPE_CHECKING:
    from anabranch.core.runs import Row
    from tests.clock import Clock


ROOT = Path(__file__).resolve().parents[2]
WAIT = 30.0
RUN = FlowRunRow("run-1", "etl", "newt", states.RUNNING, "Running", created=10.0, host="elsewhere", resumable=True)


def write(records: UnionRecords, *rows: Row) -> None:
    records.append(rows)
    assert records.flush(WAIT)


def here(**details: object) -> FlowRunRow:
    me = {"pid": os.getpid(), "pid_started": process_started(os.getpid()), "host": host_name(), "heartbeat": 100.0}
    return replace(RUN, **{**me, **details})  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    return sorted(file.suffix for file in folder.iterdir())


# -- which records are opened ----------------------------------------------------------------------


def test_a_setting_overrules_what_the_file_system_tells(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for shared in ("auto", "false", "true"):
        assert not recorded(path, shared=shared)
    with open_records(path, shared="true") as records:
        assert isinstance(records, UnionRecords)
        assert not recorded(path, shared="true")  # looking makes nothing
        write(records, RUN)
    assert recorded(path, shared="true")
    assert not recorded(path, shared="auto")
    assert files(tmp_path / "runs.db.d") == [".db"]
    with open_records(path, shared="false") as single:
        assert isinstance(single, SqliteRecords)
        assert single.flow_runs() == []


def test_files_have_no_write_ahead_log_and_are_private(tmp_path: Path) -> None:
    with UnionRecords(tmp_path / "d") as records:
        write(records, RUN)
        [file] = (tmp_path / "d").iterdir()
        with opened(file) as db:
            assert db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        assert file.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700


# -- several drivers -------------------------------------------------------------------------------


def test_runs_of_all_drivers_are_one_list(tmp_path: Path) -> None:
    drivers = [UnionRecords(tmp_path) for _ in range(3)]
    for n in range(12):
        write(drivers[n % 3], replace(RUN, id=f"run-{n}", created=float(n), name="even" if n % 2 == 0 else "odd"))
    assert len(list(tmp_path.glob("*.db"))) == 3
    for records in drivers:
        assert [row.id for row in records.flow_runs(limit=5)] == [f"run-{n}" for n in (11, 10, 9, 8, 7)]
        assert records.flow_run("even").id == "run-10"  # type: ignore[union-attr]
        assert records.flow_run("run-11").id == "run-11"  # type: ignore[union-attr]
        assert records.flow_run("run-") is None
    for records in drivers:
        records.close()


def test_a_run_goes_on_in_the_file_of_its_next_driver(tmp_path: Path) -> None:
    first, second = UnionRecords(tmp_path), UnionRecords(tmp_path)
    write(
        first, RUN, MapRow("m", "run-1", "t", "map", 6, 11.0), ItemBlock("m", 0, 3), StoredRow("m", "a", [0], [0]),
        ItemRow("m", 3, 1, states.FAILED, message="bad", error_type="E"), ItemRow("m", 4, 1, states.FAILED),
        TransitionRow("run-1", -1, 1, states.RUNNING, "Running", "", 10.0), LogRow(10.0, 20, "l", "one", "run-1"),
    )  # fmt: skip
    assert second.claim(here()) == 1
    for records in (first, second):
        found = records.flow_run("run-1")
        assert found is not None
        assert (found.pid, found.token, found.state) == (os.getpid(), 1, states.RUNNING)
    write(
        second, here(token=1, attempt=2, state=states.COMPLETED, state_name="Completed", ended=20.0),
        MapRow("m", "run-1", "t", "map", 6, 11.0, 19.0), ItemBlock("m", 4, 2, attempt=2), StoredRow("m", "b", [4], [0]),
        TransitionRow("run-1", -1, 2, states.COMPLETED, "Completed", "", 20.0), LogRow(19.0, 20, "l", "two", "run-1"),
    )  # fmt: skip
    write(  # too late: the run belongs to the other driver
        first, replace(RUN, state=states.FAILED), MapRow("m", "run-1", "late", "map", 6, 11.0), ItemBlock("m", 1, 1),
        StoredRow("m", "c", [1], [0]), TransitionRow("run-1", -1, 1, states.FAILED, "Failed", "", 21.0),
        LogRow(21.0, 20, "l", "late", "run-1"), HeartbeatRow("run-1", 900.0),
    )  # fmt: skip
    assert first.taken_over(["run-1"]) == {"run-1"}
    third = UnionRecords(tmp_path)
    for records in (first, second, third):
        [found] = records.flow_runs()
        assert (found.state, found.attempt, found.token, found.ended) == (states.COMPLETED, 2, 1, 20.0)
        assert records.flow_runs(state="Running") == []
        assert records.flow_runs(state="Completed", flow="etl") == [found]
        assert [(m.task, m.ended) for m in records.maps("run-1")] == [("t", 19.0)]
        assert [(v.index, v.state) for v in records.items("m")] == [
            (0, "Completed"), (1, "Completed"), (2, "Completed"), (3, "Failed"), (4, "Completed"), (5, "Completed"),
        ]  # fmt: skip
        assert [row.name for row in records.stored("m")] == ["a", "b"]
        assert records.failures("run-1") == [("t", "E", "bad", 1, 3)]
        assert [(why.overcome, why.times, why.first) for why in records.reasons(["m"])] == [(False, 1, 3), (True, 1, 4)]
        assert [row.message for row in records.attempts("m", 3)] == ["bad"]
        assert [row.state_name for row in records.transitions("run-1")] == ["Running", "Completed"]
        assert [line.message for line in records.logs("run-1")] == ["one", "two"]
        assert records.check() == []
        records.close()


def test_one_of_many_gets_a_run(tmp_path: Path) -> None:
    drivers = [UnionRecords(tmp_path) for _ in range(8)]
    write(drivers[0], RUN)
    begin, got = threading.Barrier(8), []

    def claim(records: UnionRecords) -> None:
        begin.wait(WAIT)
        try:
            got.append(records.claim(here()))
        except RunTakenError:
            got.append(0)

    threads = [threading.Thread(target=claim, args=(records,)) for records in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(got) == [0] * 7 + [1]
    for records in drivers:
        records.close()


def test_a_claim_counts_before_its_maker_has_written_who_it_is(tmp_path: Path) -> None:
    first, second = UnionRecords(tmp_path), UnionRecords(tmp_path)
    write(first, RUN)
    claim = tmp_path / "run-1.claim-1"
    claim.touch()
    with pytest.raises(RunTakenError):
        second.claim(here())
    os.utime(claim, (100.0, 100.0))  # who made it has never come back
    assert second.claim(here()) == 2
    first.close()
    second.close()


def test_a_driver_that_lives_after_all_has_not_crashed(tmp_path: Path, clock: Clock) -> None:
    driver, other = UnionRecords(tmp_path, clock=clock), UnionRecords(tmp_path, clock=clock)
    write(driver, replace(RUN, attempt=1))
    assert other.mark_dead() == ["run-1"]
    assert other.mark_dead() == []
    assert driver.flow_run("run-1").state == states.CRASHED  # type: ignore[union-attr]
    assert [row.id for row in driver.flow_runs(state="Crashed")] == ["run-1"]
    write(driver, HeartbeatRow("run-1", clock.now))
    assert other.flow_run("run-1").state == states.RUNNING  # type: ignore[union-attr]
    assert other.mark_dead() == []
    clock.now += 100
    assert other.mark_dead() == ["run-1"]
    assert other.claim(here(heartbeat=clock.now)) == 1
    assert other.flow_run("run-1").state == states.RUNNING  # type: ignore[union-attr]
    driver.close()
    other.close()


VICTIM = """
import sys
from anabranch.core.runs import LogRow
from anabranch.records.union import UnionRecords
records = UnionRecords(sys.argv[1], commit_interval=0.001)
n = 0
while True:
    for _ in range(50):
        records.append([LogRow(n, 20, "l", str(n), "r")])
        n += 1
    assert records.flush(30)
    print(n, flush=True)
"""


def test_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            flushed = [int(victim.stdout.readline()) for _ in range(5)][-1]
            victim.send_signal(signal.SIGKILL)
        with UnionRecords(tmp_path) as records:
            assert len(records.logs("r", limit=10**6)) >= flushed
            assert records.check() == []
        for file in tmp_path.iterdir():
            file.unlink()


# -- retention, versions ---------------------------------------------------------------------------


def test_files_of_old_runs_go_as_a_whole(tmp_path: Path, clock: Clock) -> None:
    clock.now = 1000 * DAY
    old, mixed, claimed, young = (UnionRecords(tmp_path, clock=clock) for _ in range(4))
    write(old, replace(RUN, id="a", state=states.COMPLETED, ended=10.0), replace(RUN, id="crashed", heartbeat=5.0))
    write(mixed, replace(RUN, id="b", state=states.COMPLETED, ended=10.0), here(id="lives"))
    write(claimed, replace(RUN, id="c", state=states.CRASHED, ended=10.0))
    claimed.claim(here(id="c"))
    write(young, here(id="c", token=1, state=states.COMPLETED, ended=clock.now))
    assert young.mark_dead() == ["crashed"]
    for records in (old, mixed, claimed, young):
        records.close()
    for file in tmp_path.glob("*.db"):
        os.utime(file, (20.0, 20.0))
    reader = UnionRecords(tmp_path, clock=clock)
    assert reader.compact(None).runs == 0
    assert reader.compact(clock.now - 90 * DAY).runs == 0  # one of them crashed just now, as far as anybody knows
    clock.now += 100 * DAY
    sizes = reader.compact(clock.now - 90 * DAY)
    assert sizes.runs == 4  # by now c is old as well, in both its files
    assert sizes.after < sizes.before
    assert {row.id for row in reader.flow_runs()} == {"b", "lives"}
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".db"]


def test_one_driver_an_hour_looks(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_retention, "FIRST", 0.0)
    clock.now = 1000 * DAY
    with UnionRecords(tmp_path, clock=clock) as old:
        write(old, replace(RUN, id="a", state=states.COMPLETED, ended=10.0))
    [file] = tmp_path.glob("*.db")
    os.utime(file, (20.0, 20.0))
    tidying = [folder_retention.FolderRetention(UnionRecords(tmp_path), 90, clock) for _ in range(2)]
    with UnionRecords(tmp_path) as records:
        for one in tidying:
            one.step(records._own.database, lambda: pytest.fail("no connection is needed"))
            assert not file.exists()
        assert tidying[1].pause() > 3000


def test_a_file_of_a_newer_anabranch_is_refused(tmp_path: Path) -> None:
    with UnionRecords(tmp_path) as records:
        write(records, RUN)
    [file] = tmp_path.glob("*.db")
    with opened(file) as db:
        db.execute("PRAGMA user_version = 99")
    with UnionRecords(tmp_path) as records, pytest.raises(RecordsError, match="schema version 99"):
        records.flow_runs()


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database, but long enough to be one " * 100)
    with UnionRecords(tmp_path) as records, pytest.raises(RecordsError, match=r"x\.db"):
        records.flow_runs()
