"""Old runs are deleted a little at a time, in a file and on a server, while others write."""

from __future__ import annotations

import importlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.processes import host_name
from anabranch.core.runs import (
    FlowRunRow,
    ItemBlock,
    ItemRow,
    LogRow,
    MapRow,
    StoredRow,
    TransitionRow,
)
from anabranch.records import retention
from anabranch.records.retention import DAY, Retention, Sweep, sweep
from anabranch.records.sealing import seal
from anabranch.records.sqlite import SqliteRecords

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.runs import Row
    from anabranch.records.recorder import Recorder
    from tests.clock import Clock


ROOT = Path(__file__).resolve().parents[2]
WAIT = 30.0
NOW = 1_800_000_000.0
OLD = NOW - 100 * DAY
TABLES = ("flow_runs", "maps", "items", "item_blocks", "stored_items", "transitions", "logs", "cancel_requests")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Recorder]:
    """Opens the same records again and again."""
    if request.param == "sqlite":
        return lambda **more: SqliteRecords(tmp_path / "runs.db", **more)
    address = request.getfixturevalue("postgres_address")
    postgres = importlib.import_module("anabranch.records.postgres")
    return lambda **more: postgres.PostgresRecords(address, **more)


def run_rows(id: str, ended: float | None, **details: Any) -> list[Row]:
    """A run of which something is in every table."""
    map, when = f"{id}-map", details.pop("created", OLD - 100)
    state = states.RUNNING if ended is None else states.COMPLETED
    return [
        FlowRunRow(id, "etl", "newt", state, created=when, ended=ended, **details),
        MapRow(map, id, "double", "map", 4000, when, ended),
        *(ItemRow(map, n, 1, states.FAILED) for n in range(600)),
        *(ItemBlock(map, n * 100, 100) for n in range(6, 12)),
        StoredRow(map, "blocks/a", range(4), range(4)),
        StoredRow(id, "blocks/b", range(1), range(1)),
        *(TransitionRow(map, n, 1, states.FAILED, "Failed", "", when) for n in range(600)),
        TransitionRow(id, -1, 1, states.RUNNING, "Running", "", when),
        *(LogRow(when, 20, "x", str(n), id) for n in range(600)),
    ]


def counts(records: Recorder) -> dict[str, int]:
    with records.database.opened() as db:
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def test_old_runs_go_with_all_that_is_of_them(opening: Callable[..., Recorder]) -> None:
    with opening() as records:
        records.append(run_rows("old", OLD))
        records.append(run_rows("young", NOW - DAY))
        assert records.flush(WAIT)
        assert records.request_cancel("old") is False
        with records.database.opened() as db:  # as many as there were commits
            blobs = db.execute("SELECT count(*) FROM item_blocks WHERE map = 'young-map'").fetchone()[0]
        kept = {"flow_runs": 1, "maps": 1, "items": 600, "item_blocks": blobs, "stored_items": 2, "transitions": 601,
                "logs": 600, "cancel_requests": 0}  # fmt: skip
        assert sweep(records.database, NOW - 90 * DAY) == 1
        assert counts(records) == kept
        assert [row.id for row in records.flow_runs()] == ["young"]
        assert sweep(records.database, NOW - 90 * DAY) == 0
        assert counts(records) == kept


@pytest.mark.parametrize("meanwhile", ["deleted", "merged"])
def test_what_somebody_else_takes_while_it_is_merged_does_not_come_back(
    opening: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    with opening() as records:
        records.append([FlowRunRow("old", "etl", "newt", states.COMPLETED, created=OLD - 100, ended=OLD)])
        for n in range(3):
            records.append([MapRow("old-map", "old", "double", "map", 300, OLD), ItemBlock("old-map", n * 100, 100)])
            assert records.flush(WAIT)
        assert counts(records)["item_blocks"] == 3
        database = records.database
        transaction = database.transaction

        def late(connection: Any) -> Any:
            monkeypatch.undo()
            if meanwhile == "deleted":
                assert sweep(database, NOW - 90 * DAY) == 1
            else:
                with database.opened() as other:
                    seal(database, other, "old-map")
            return transaction(connection)

        monkeypatch.setattr(database, "transaction", late)
        with database.opened() as connection:
            seal(database, connection, "old-map")
        assert counts(records)["item_blocks"] == (0 if meanwhile == "deleted" else 1)


def test_compacting_gives_space_back(opening: Callable[..., Recorder]) -> None:
    with opening() as records:
        for n in range(20):
            records.append(run_rows(f"old-{n}", OLD))
        records.append(run_rows("young", NOW))
        assert records.flush(WAIT)
        assert records.check() == []
        done = records.compact(NOW - 90 * DAY)
        assert done.runs == 20
        assert done.after < done.before / 2
        assert records.check() == []
        assert [row.id for row in records.flow_runs()] == ["young"]


def test_what_has_not_ended_is_kept(opening: Callable[..., Recorder]) -> None:
    with opening() as records:
        records.append(run_rows("runs", None))
        records.append(run_rows("its-child", OLD, parent_run="runs"))
        records.append(run_rows("claimed-again", OLD, heartbeat=NOW))
        records.append(run_rows("crashed", OLD, resumable=True))
        records.append([MapRow("outside", "", "t", "map", 1, OLD), ItemBlock("outside", 0, 1)])
        records.append([LogRow(OLD, 20, "x", "outside", "")])
        assert records.flush(WAIT)
        assert sweep(records.database, NOW - 90 * DAY) == 1
        assert {row.id for row in records.flow_runs()} == {"runs", "its-child", "claimed-again"}
        assert records.maps("") == []
        assert records.items("outside") == []
        assert records.logs("") == []


def test_a_step_that_fails_is_done_again(opening: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    with opening() as records:
        records.append(run_rows("old", OLD))
        assert records.flush(WAIT)
        before = counts(records)
        sweeping = Sweep(records.database, NOW)
        broken = {**records.database.sql, "drop_run": "DELETE FROM nowhere WHERE id = 'x'"}
        with records.database.opened() as db, monkeypatch.context() as patch:
            patch.setattr(retention, "_STEP", 60.0)
            patch.setattr(records.database, "sql", broken)
            with pytest.raises(records.database.errors):
                sweeping.step(db)
        assert counts(records) == before
        assert sweep(records.database, NOW) == 1
        assert set(counts(records).values()) == {0}


def test_one_process_an_hour_looks_and_none_at_its_start(
    opening: Callable[..., Recorder], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = NOW
    with opening() as records, opening() as other:
        records.append(run_rows("old", OLD))
        assert records.flush(WAIT)
        mine, others = Retention(90, clock), Retention(90, clock)
        for one in (mine, others):
            assert one.pause() > 200
            one._due = 0.0
        with records.database.opened() as db, other.database.opened() as db2:
            others.step(other.database, lambda: db2)
            mine.step(records.database, lambda: db)
            assert mine.pause() > 3000  # the other does it
            while others.pause() < 3000:
                others._due = 0.0
                others.step(other.database, lambda: db2)
            assert records.flow_runs() == []
            clock.now += 3601
            mine._due = 0.0
            mine.step(records.database, lambda: db)
            assert mine.pause() > 3000


def test_the_writers_thread_does_it_in_between(
    opening: Callable[..., Recorder], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FIRST", 0.0)
    clock.now = NOW
    with opening() as records:
        records.append(run_rows("old", OLD))
        assert records.flush(WAIT)
    with opening(clock=clock, retention_days=90, commit_interval=0.0) as records:
        deadline = time.monotonic() + WAIT
        while any(row.id == "old" for row in records.flow_runs()):
            records.append([LogRow(NOW, 20, "x", "on", "young")])
            assert time.monotonic() < deadline
    with opening(clock=clock) as records:
        assert counts(records)["items"] == 0


SECOND = """
import sys, time
from anabranch.core.runs import LogRow
from anabranch.records.sqlite import SqliteRecords
worst, n = 0.0, 0
with SqliteRecords(sys.argv[1], commit_interval=0.0) as records:
    records.append([LogRow(1e9, 20, "x", "first", "second")])
    assert records.flush(30)
    print("ready", flush=True)
    go = True
    import threading
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    while not stop.is_set():
        began = time.monotonic()
        records.append([LogRow(1e9, 20, "x", str(n), "second")])
        assert records.flush(30)
        worst = max(worst, time.monotonic() - began)
        n += 1
print(n, worst, flush=True)
"""


@pytest.mark.parametrize("events", [100_000, pytest.param(1_000_000, marks=pytest.mark.nightly("a million rows"))])
def test_many_events_are_deleted_while_another_writes(tmp_path: Path, events: int) -> None:
    path = tmp_path / "runs.db"
    with SqliteRecords(path) as records:
        records.append([FlowRunRow("old", "etl", "newt", states.COMPLETED, created=OLD, ended=OLD)])
        records.append([MapRow("map", "old", "t", "map", 10, OLD, OLD)])
    with sqlite3.connect(path) as db:
        log = ((OLD, 20, "x", f"line {n} of many that were logged", "old", "", -1) for n in range(events * 6 // 10))
        db.executemany("INSERT INTO logs (at, level, logger, message, flow_run, map, idx) VALUES (?,?,?,?,?,?,?)", log)
        event = (("map", n % 10, 1, 9, "Failed", "", OLD) for n in range(events * 4 // 10))
        db.executemany(
            "INSERT INTO transitions (run, idx, attempt, state, state_name, message, at) VALUES (?,?,?,?,?,?,?)", event
        )
    db.close()
    with subprocess.Popen(
        [sys.executable, "-c", SECOND, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as second:
        assert second.stdout is not None
        assert second.stdout.readline() == "ready\n"
        began = time.monotonic()
        with SqliteRecords(path) as records:
            assert sweep(records.database, NOW) == 1
            took = time.monotonic() - began
            out, _ = second.communicate("stop\n", timeout=WAIT)
            commits, worst = int(out.split()[0]), float(out.split()[1])
            print(f"{took:.1f} s; the other committed {commits} times, the longest took {worst * 1000:.0f} ms")
            assert commits >= 2 * took
            assert worst < 1.5
            found = counts(records)
            assert found.pop("logs") == commits + 1
            assert set(found.values()) == {0}


def test_nobody_here_is_dead(opening: Callable[..., Recorder]) -> None:
    """A run whose driver was found gone is old from that day on, not from the day it began."""
    with opening() as records:
        records.append(run_rows("lost", None, pid=2**22 + 1, pid_started=1.0, host=host_name()))
        assert records.flush(WAIT)
        assert os.getpid() != 2**22 + 1
        assert records.mark_dead() == ["lost"]
        assert sweep(records.database, time.time() - 90 * DAY) == 0
        assert sweep(records.database, time.time() + DAY) == 1
