"""SQLite's record under faults: calls that fail, rows that cannot be stored, many threads."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.runs import (
    FlowRunRow,
    ItemBlock,
    ItemRow,
    LogRow,
    MapRow,
)
from anabranch.core.states import COMPLETED, RUNNING
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.sqlite_file import SqliteFile, connect, opened
from tests.integration.sqlite_files import WAIT, count, sound

if TYPE_CHECKING:
    from pathlib import Path



class Flawed:
    """A connection of which one call, the n-th of all, fails before it does anything."""

    calls = 0

    def __init__(self, connection: sqlite3.Connection, n: int) -> None:
        self._connection, self._n = connection, n

    def _count(self) -> None:
        Flawed.calls += 1
        if Flawed.calls == self._n:
            raise sqlite3.OperationalError("disk I/O error")

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return self._connection.execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return self._connection.executemany(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.sampled(5, "200 faults in 26 commits each")
@pytest.mark.parametrize("first", range(1, 11))
def test_each_call_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Call after call of the writer's fails, the 1st to the 200th: nothing is lost, nothing is written twice."""
    for n in range(first, 201, 10):
        with monkeypatch.context() as patch:
            patch.setattr(Flawed, "calls", 0)
            patch.setattr(SqliteFile, "connect", lambda self, n=n: Flawed(connect(self.path, 0.25), n))
            _write_in_parts(tmp_path / f"{n}.db", parts=26)
            assert Flawed.calls > max(n, 200)


def _write_in_parts(path: Path, parts: int) -> None:
    with SqliteRecords(path, commit_interval=0.0) as records:
        for part in range(parts):
            first = part * 150
            ended = 2.0 if part % 3 == 2 else None  # then blobs are merged
            records.append([FlowRunRow("r", "f", "n", RUNNING), MapRow("m", "r", "t", "map", 5000, 1.0, ended)])
            records.append(ItemRow("m", i, 1, COMPLETED) for i in range(first, first + 120))
            records.append([ItemBlock("m", first + 120, 30), LogRow(part, 20, "l", str(part), "r")])
            assert records.flush(WAIT)
    assert [view.index for view in records.items("m", limit=10_000)] == list(range(150 * parts))
    assert [line.message for line in records.logs("r")] == [str(part) for part in range(parts)]
    assert count(path, "items") == 120 * parts
    assert count(path, "item_blocks") < parts
    assert sound(path)


def test_rows_that_cannot_be_stored_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Alien:
        """No row."""

    bad: list[Any] = [
        LogRow(1.0, 20, "l", object(), "r"),  # type: ignore[arg-type]
        LogRow(1.0, 2**70, "l", "huge", "r"),
        LogRow(1.0, 20, "l", None, "r"),  # type: ignore[arg-type]
        MapRow("bad", "r", "t", "map", 1, counts={"x": object()}),  # type: ignore[dict-item]
        Alien(),
    ]
    good = [LogRow(n, 20, "l", str(n), "r") for n in range(250)]
    with SqliteRecords(tmp_path / "runs.db") as records:
        records.append([*good[:100], *bad, *good[100:], MapRow("ok", "r", "t", "map", 1)])
        assert records.flush(WAIT)
        assert records.logs("r") == good
        assert [map.id for map in records.maps("r")] == ["ok"]
    assert len(caplog.records) == len(bad)


def test_many_threads_append(tmp_path: Path) -> None:
    with SqliteRecords(tmp_path / "runs.db", commit_interval=0.001) as records:
        begin = threading.Barrier(4)

        def work(name: str) -> None:
            begin.wait(WAIT)
            for n in range(2000):
                records.append([LogRow(n, 20, "l", str(n), name)])

        threads = [threading.Thread(target=work, args=(f"r{k}",)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert records.flush(WAIT)
        for k in range(4):
            assert [line.message for line in records.logs(f"r{k}", limit=9999)] == [str(n) for n in range(2000)]


def test_rows_are_committed_without_being_asked(tmp_path: Path) -> None:
    """A row appended to an idle writer, and one appended while it works, get in by themselves."""
    path = tmp_path / "runs.db"
    with SqliteRecords(path, commit_interval=0.001) as records, opened(path) as db:
        deadline = time.monotonic() + WAIT
        for n in range(200):
            records.append([LogRow(n, 20, "l", "", "r")])
            while n % 20 == 0 and db.execute("SELECT count(*) FROM logs").fetchone()[0] <= n:
                assert time.monotonic() < deadline
