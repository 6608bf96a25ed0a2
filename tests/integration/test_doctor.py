"""`anabranch doctor` on this machine, and on one with faults."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
from typing import TYPE_CHECKING

import pytest

from anabranch.cli import probing
from anabranch.core import network_files
from anabranch.records.sqlite import SqliteRecords
from tests.integration.commands import alone, run
from tests.integration.test_watch import ROW

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return alone(tmp_path, monkeypatch)


def test_it_tells_what_is_here_and_leaves_nothing_behind(home: Path) -> None:
    done = run("doctor", "--json", code=None)
    told = json.loads(done.stdout)
    assert told["version"] == 1
    assert told["ok"] is (done.returncode == 0)
    found = told["found"]
    assert found["cpus"] <= found["machine_cpus"] == os.cpu_count()
    assert found["versions"]["anabranch"]
    assert (found["runs"], found["record_trouble"], found["monotonic"]) == (None, "", True)
    assert found["home"]["free"] > 0
    assert not home.exists()
    lines = run("doctor", code=None).stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["python", "packages", "record", "processors"]


def test_a_record_is_counted(home: Path) -> None:
    with SqliteRecords(home / "records.db") as records:
        records.append([ROW])
    found = json.loads(run("doctor", "--json", code=None).stdout)
    assert (found["found"]["runs"], found["found"]["open_runs"]) == (1, 1)
    assert "1 flow runs, 1 of them not ended" in run("doctor", code=None).stdout


def test_what_certainly_fails_gives_exit_code_1(home: Path) -> None:
    with SqliteRecords(home / "records.db"):
        pass
    with sqlite3.connect(home / "records.db") as db:
        db.execute("PRAGMA user_version = 9999")
    db.close()
    done = run("doctor", code=1)
    assert "FAILS  record: Cannot open the record: " in done.stdout
    assert "version 9999" in done.stdout
    assert json.loads(run("doctor", "--json", code=1).stdout)["ok"] is False


def test_low_limits_and_threads_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "999")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def low() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))

    told = run("doctor", code=0, preexec_fn=low).stdout
    assert "WARNS  limits: This process may open 200 files" in told
    assert "WARNS  threads: OMP_NUM_THREADS=999" in told


def test_records_of_killed_drivers_on_this_node(tmp_path: Path) -> None:
    alive, dead = f"anabranch-record-host-{os.getpid()}-abc", "anabranch-record-host-4194999-abc"
    for name in (alive, dead):
        (tmp_path / name).mkdir()
    assert probing.left_on_node(tmp_path) == (str(tmp_path / dead),)


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probing.place(tmp_path / "to" / "come").trouble == ""
    assert not (tmp_path / "to").exists()

    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(probing.tempfile, "TemporaryFile", refuse)
    assert probing.place(tmp_path).trouble == "Read-only file system"
    assert probing.skew(tmp_path) == 0.0
    assert probing.skew(tmp_path / "absent") is None


def test_the_kind_of_a_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /nfs rw - nfs4 srv:/x rw\n")
    assert network_files.kind("/nfs/a/b", str(mounts)) == "nfs4"
    assert network_files.kind("/nothing", str(mounts)) == "ext4"
    assert network_files.kind("/nothing", str(tmp_path / "absent")) == ""
