"""The SQLite file of the records: who may read it, what is refused, how its schema grows, whose locks hold."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RecordsError
from anabranch.core.runs import FlowRunRow
from anabranch.core.states import RUNNING
from anabranch.records.reader import Reader
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.sqlite_file import SqliteFile, opened, prepare
from anabranch.records.statements import QUERIES, Migration, migrations, parse

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 30.0


def test_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = tmp_path / "deep" / "down" / "runs.db"
        with SqliteRecords(path) as records:
            records.append([FlowRunRow("r", "f", "n", RUNNING)])
            assert records.flush(WAIT)
            files = list(path.parent.iterdir())
            assert len(files) == 3
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(old)
    assert [file.name for file in path.parent.iterdir()] == ["runs.db"]


def test_odd_paths(tmp_path: Path) -> None:
    for name in ("a b?c#d%20.db", "é.db"):
        with SqliteRecords(tmp_path / name) as records:
            records.append([FlowRunRow("r", "f", "n", RUNNING)])
        assert (tmp_path / name).stat().st_size > 0
        assert records.flow_run("r") is not None


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_text("no database, but long enough to be one " * 100)
    with pytest.raises(RecordsError, match=r"runs\.db.*not a database"):
        SqliteRecords(path)
    with pytest.raises(RecordsError, match="cannot be used"):
        SqliteRecords(tmp_path)
    with pytest.raises(RecordsError, match="cannot be used"):
        Reader(SqliteFile(tmp_path / "none.db")).flow_runs()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    SqliteRecords(path).close()
    with opened(path) as db:
        db.execute("PRAGMA user_version = 99")
    known = len(migrations())
    with pytest.raises(RecordsError, match=f"schema version 99; this anabranch knows versions up to {known}:"):
        SqliteRecords(path)


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with SqliteRecords(path) as records:
        records.append([FlowRunRow("r", "f", "n", RUNNING)])
    known = migrations()
    step = Migration(len(known) + 1, ("ALTER TABLE flow_runs ADD COLUMN extra TEXT DEFAULT 'x';",))
    broken = step._replace(statements=(*step.statements, "INSERT INTO nowhere VALUES (1);"))
    with pytest.raises(RecordsError, match="nowhere"):
        prepare(path, [*known, broken])
    assert records.flow_run("r") is not None
    with opened(path) as db:  # nothing of the broken step stayed
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(known)
        assert "extra" not in [row[1] for row in db.execute("PRAGMA table_info(flow_runs)")]
    for _ in range(2):
        prepare(path, [*known, step])
    with opened(path) as db:
        assert db.execute("SELECT id, extra FROM flow_runs").fetchall() == [("r", "x")]
    with pytest.raises(RecordsError, match=f"version {len(known) + 1}"):
        SqliteRecords(path)


def test_queries_are_named_and_told(tmp_path: Path) -> None:
    assert all(len(query.purpose) > 10 and query.purpose.endswith(".") for query in QUERIES.values())
    with pytest.raises(RecordsError, match="doubled"):
        parse("-- name: x\n-- One.\nSELECT 1;\n-- name: x\n-- Two.\nSELECT 2;\n")
    with pytest.raises(RecordsError, match="'x'"):
        parse("-- name: x\nSELECT 1;\n")


def test_opening_the_records_twice_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """A process that closes a descriptor of the file loses its locks; then another takes the log away from under it."""
    path = tmp_path / "runs.db"
    first = SqliteRecords(path)
    first.append([FlowRunRow("run-1", "etl", "newt", RUNNING)])
    assert first.flush(20)
    SqliteRecords(path).close()
    come_and_go = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT 1 FROM maps'); db.close()"
    subprocess.run([sys.executable, "-c", come_and_go, str(path)], check=True)
    assert (tmp_path / "runs.db-wal").exists()  # the last connection to close would have removed it
    first.close()
