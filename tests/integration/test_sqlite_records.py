"""The SQLite file among processes: started together, locked, killed, of another version, a million items."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from array import array
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import (
    FlowRunRow,
    HeartbeatRow,
    ItemBlock,
    ItemRow,
    LogRow,
    MapRow,
    StoredRow,
    TransitionRow,
)
from anabranch.core.states import COMPLETED, FAILED, RUNNING
from anabranch.records.reader import Reader
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.sqlite_file import SqliteFile
from tests.integration.sqlite_files import WAIT, count, sound

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).resolve().parents[2]
MAP = "0190a5c1-7a00-7000-8000-000000000000"


@contextmanager
def program(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process with pipes to its standard input and output; killed at the end if need be."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("COMMIT")
print("free", flush=True)
"""


# -- several processes -----------------------------------------------------------------------------

WRITER = """
import sys
from anabranch.core.runs import FlowRunRow, ItemBlock, ItemRow, LogRow, MapRow
from anabranch.records.sqlite import SqliteRecords
print("ready", flush=True)
sys.stdin.readline()
name = sys.argv[2]
with SqliteRecords(sys.argv[1]) as records:
    records.append([FlowRunRow(name, "f", name, 5), MapRow(name, name, "t", "map", 20_000)])
    for n in range(200):
        records.append([ItemBlock(name, n * 100, 100), LogRow(n, 20, "l", str(n), name), ItemRow(name, n, 2, 7)])
        if n % 10 == 0:
            assert records.flush(30)
print("done", flush=True)
"""


def test_processes_start_and_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.db"
    names = [f"run-{n}" for n in range(3)]
    with ExitStack() as stack:
        processes = [stack.enter_context(program(WRITER, path, name)) for name in names]
        for process in processes:
            assert line_of(process) == "ready"
        for process in processes:
            tell(process)
        for process in processes:
            assert line_of(process) == "done"
            assert process.wait(WAIT) == 0
    records = Reader(SqliteFile(path))
    assert {row.id for row in records.flow_runs()} == set(names)
    for name in names:
        assert len(records.items(name, limit=100_000, states=["Completed"])) == 20_000
        assert [line.message for line in records.logs(name)] == [str(n) for n in range(200)]
    assert sound(path)


def test_a_locked_database_delays_the_writer_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "runs.db"
    records = SqliteRecords(path)
    records.append([FlowRunRow("r", "f", "n", RUNNING), MapRow(MAP, "r", "t", "map", 300_000)])
    assert records.flush(WAIT)
    with program(HOLDER, path) as holder:
        assert line_of(holder) == "locked"
        spent = time.thread_time()
        for n in range(300):
            records.append([ItemBlock(MAP, n * 1000, 1000, None, 0.0, array("i", [0] * 1000), array("i", [9] * 1000))])
            records.append([LogRow(n, 20, "l", str(n), "r")])
        assert time.thread_time() - spent < 1.0
        assert not records.flush(2.0)
        assert len(records.flow_runs()) == 1  # reading goes on
        assert records.logs("r") == []
        tell(holder)
        assert line_of(holder) == "free"
        assert records.flush(WAIT)
    assert len(records.logs("r")) == 300
    assert count(path, "item_blocks") <= 6  # merged while they waited
    records.close()
    assert len(records.items(MAP, limit=400_000)) == 300_000
    assert caplog.records == []


def test_closing_on_a_locked_database_can_be_given_up(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    records = SqliteRecords(path)
    with program(HOLDER, path) as holder:
        assert line_of(holder) == "locked"
        records.append([FlowRunRow("r", "f", "n", RUNNING)])
        records.close(0.1)
        tell(holder)
        assert line_of(holder) == "free"
    records.close()
    assert records.flow_run("r") is not None


VICTIM = """
import sys
from array import array
from anabranch.core.runs import ItemBlock, LogRow, MapRow
from anabranch.records.sqlite import SqliteRecords
records = SqliteRecords(sys.argv[1], commit_interval=0.001)
n = 0
while True:
    for _ in range(50):
        first = n * 100
        records.append([ItemBlock("m", first, 100, None, 0.0, array("i", [n] * 100), array("i", [1] * 100))])
        records.append([LogRow(n, 20, "l", str(n), "r"), MapRow("m", "r", "t", "map", None, 1.0, n % 7 or None)])
        n += 1
    if n % 500 == 0:
        assert records.flush(30)
        print(n, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 7])
def test_kill_in_the_middle_of_writing(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "runs.db"
    with program(VICTIM, path) as victim:
        for _ in range(lines):
            flushed = int(line_of(victim))
        victim.send_signal(signal.SIGKILL)
        victim.wait(WAIT)
    assert sound(path)
    with SqliteRecords(path) as records:
        logs = records.logs("r", limit=10**9)
        items = records.items("m", limit=10**9)
        assert len(logs) >= flushed
        assert [line.message for line in logs] == [str(n) for n in range(len(logs))]
        assert [view.index for view in items] == list(range(len(logs) * 100))
        records.append([LogRow(1e9, 20, "l", "after", "r")])
        assert records.flush(WAIT)


FORKER = """
import os, sys, warnings
from anabranch.core.runs import LogRow
from anabranch.records.sqlite import SqliteRecords
warnings.simplefilter("ignore", DeprecationWarning)
records = SqliteRecords(sys.argv[1])
records.append([LogRow(1.0, 20, "l", "before", "r")])
assert records.flush(30)
child = os.fork()
if child == 0:
    sys.exit(len(records.logs("r")))  # an ordinary end: objects and connections are taken down
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
records.append([LogRow(2.0, 20, "l", "after", "r")])
records.close()
print(len(records.logs("r")), flush=True)
"""


def test_the_end_of_a_forked_child_does_no_harm(tmp_path: Path) -> None:
    with program(FORKER, tmp_path / "runs.db") as process:
        assert line_of(process) == "2"
        assert process.wait(WAIT) == 0
    assert sound(tmp_path / "runs.db")


# -- many items ------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [100, pytest.param(1000, marks=pytest.mark.nightly("a million items"))])
def test_a_thousand_items_a_block(tmp_path: Path, blocks: int) -> None:
    items = blocks * 1000
    rng = random.Random(20)
    path = tmp_path / "runs.db"
    records = SqliteRecords(path)
    records.append([MapRow(MAP, "r", "t", "map", items, 1.0)])
    appending = 0.0
    sums = 0
    for n in range(blocks):
        durations = array("i", [int(rng.expovariate(1 / 300)) + 1 for _ in range(1000)])
        started = array("i", [0])
        for d in durations[:-1]:
            started.append(started[-1] + d + 2)
        sums += sum(durations)
        block = ItemBlock(MAP, n * 1000, 1000, None, 1.7e9 + n, started, durations, 1, f"worker-{n % 2}")
        before = time.thread_time()
        records.append((block,))
        appending += time.thread_time() - before
    records.append([MapRow(MAP, "r", "t", "map", items, 1.0, 2.0, {"Completed": items})])
    assert records.flush(WAIT)
    records.close()
    size = path.stat().st_size
    each = appending / blocks * 1e6
    print(f"{size / items:.2f} bytes an item, writer {records.writer_seconds:.3f} s, {each:.2f} us an append")
    assert size <= 40 * items
    assert records.writer_seconds <= 0.1 + 1.4e-6 * items
    assert count(path, "item_blocks WHERE sealed = 0") == 0
    # What is sealed at a time is at least so much; how much more comes together depends on the machine.
    assert count(path, "item_blocks") <= items // 8_192 + 1
    views = records.items(MAP, limit=items)
    assert [view.index for view in views] == list(range(items))
    assert round(sum(view.duration or 0.0 for view in views) * 1e6) == sums
    assert records.items(MAP, states=["Failed"]) == []


@pytest.mark.parametrize("named", [False, True])
def test_ten_thousand_single_submits(tmp_path: Path, named: bool) -> None:
    path = tmp_path / "runs.db"
    rows: list[Any] = [
        ItemRow(MAP, i, 1, COMPLETED, name=f"load-{i}") if named
        else ItemBlock(MAP, i ^ 1, 1, None, 1.7e9 + i / 1e3, array("i", [0]), array("i", [i % 50]), 1, f"w{i % 2}")
        for i in range(10_000)
    ]  # fmt: skip
    records = SqliteRecords(path)
    records.append([MapRow(MAP, "r", "t", "submit", None, 1.0)])
    assert records.flush(WAIT)
    before = time.thread_time()
    for row in rows:
        records.append((row,))
    appending = time.thread_time() - before
    records.append([MapRow(MAP, "r", "t", "submit", 10_000, 1.0, 2.0), ItemRow(MAP, 10_000, 1, FAILED)])
    assert records.flush(WAIT)
    records.close()
    each, size = records.writer_seconds / 10_000, path.stat().st_size
    print(f"{each * 1e6:.2f} us a row in the writer, {appending * 100:.2f} us an append, {size / 1e4:.1f} bytes each")
    assert each <= 40e-6
    assert appending / 10_000 <= 10e-6
    if not named:
        assert size <= 40 * 10_000
    assert len(records.items(MAP, limit=20_000, states=["COMPLETED"])) == 10_000


def test_a_driver_that_lost_its_run_writes_nothing_more_of_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = FlowRunRow(
        "run-1", "etl", "newt", states.RUNNING, created=1.0, host="elsewhere", heartbeat=1.0, resumable=True
    )
    here = replace(run, pid=os.getpid(), pid_started=process_started(os.getpid()), host=host_name(), heartbeat=2.0)
    first, second = SqliteRecords(path), SqliteRecords(path)
    first.append([run, MapRow("map-1", "run-1", "t", "map", 4), ItemBlock("map-1", 0, 1)])
    assert first.flush(20)
    assert second.claim(here) == 1
    second.append([replace(here, token=1, attempt=2), ItemBlock("map-1", 1, 1)])
    assert second.flush(20)
    late = [
        replace(run, state=states.FAILED), MapRow("map-1", "run-1", "late", "map", 4), ItemBlock("map-1", 2, 1),
        ItemRow("map-1", 3, 1, states.FAILED), TransitionRow("run-1", -1, 1, states.FAILED, "Failed", "", 3.0),
        HeartbeatRow("run-1", 9.0), StoredRow("map-1", "blocks/x", [2], [0]), LogRow(3.0, 20, "x", "late", "run-1"),
        MapRow("map-2", "other", "t", "map", 1),
    ]  # fmt: skip
    first.append(late)
    assert first.flush(20)
    assert first.taken_over(["run-1", "run-2"]) == {"run-1"}
    found = second.flow_run("run-1")
    assert found is not None
    assert (found.state, found.attempt, found.token, found.heartbeat) == (states.RUNNING, 2, 1, 2.0)
    assert [view.index for view in second.items("map-1")] == [0, 1]
    assert [map.task for map in second.maps("run-1")] == ["t"]
    assert second.stored("map-1") == second.logs("run-1") == second.transitions("run-1") == []
    assert [map.id for map in second.maps("other")] == ["map-2"]  # its other rows are written
    first.close()
    second.close()
