"""The disk is full while results are stored (fault test 6): said by path, nothing corrupt, on it goes with space."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch import ProcessRunner, flow, task
from anabranch import session as sessions
from anabranch.records.sqlite import SqliteRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.workers import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a tiny disk can only be mounted by root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tiny disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def on_small(small: Path, tmp_path: Path) -> Iterator[Session]:
    """Results and the record lie on the small disk."""
    settings = Settings(
        home=tmp_path / "home", results=str(small / "results"), records=str(small / "records.db"), progress=False,
        log_level="CRITICAL",
    )  # fmt: skip
    mine = Session(settings)
    before = sessions.use(mine)
    yield mine
    sessions.use(before)
    mine.close()


def test_a_result_that_finds_no_room_fails_its_task_and_no_other(small: Path, on_small: Session) -> None:
    @task(persist_result=True)
    def make(x: int) -> bytes:
        return os.urandom(2 * MIB)

    @flow(runner=ProcessRunner(max_workers=2))
    def main() -> tuple[int, list[str]]:
        futures = make.map(range(12), chunk=1)
        futures.wait(WAIT)
        bad = futures.failed()
        texts = [f"{type(futures[i].exception()).__name__}: {futures.states[i].message}" for i in bad]
        return 12 - len(bad), texts

    stored, texts = main()
    assert 2 <= stored <= 5
    assert len(texts) == 12 - stored
    for text in texts:
        assert "could not be stored" in text
        assert str(small / "results") in text
        assert "No space left on device" in text
    ballast = sorted((small / "results").rglob("*"), key=lambda path: path.stat().st_size)
    assert not [path for path in ballast if ".tmp" in path.name], "what was begun is not left behind"
    for path in ballast:
        if path.is_file() and path.stat().st_size > MIB:
            path.unlink()

    @task(persist_result=True)
    def small_one(x: int) -> bytes:
        return bytes(1000)

    @flow(runner=ProcessRunner(max_workers=2))
    def once_more() -> int:
        return len(small_one.map(range(12)).result(WAIT))

    assert once_more() == 12
    on_small.flush_records()
    with closing(SqliteRecords(small / "records.db")) as records:
        runs = {run.flow: run for run in records.flow_runs()}
        assert runs["once-more"].state_name == "Completed"
        [failed] = records.maps(runs["main"].id)
        assert failed.counts == {"Completed": stored, "Failed": 12 - stored}
    import sqlite3

    with closing(sqlite3.connect(small / "records.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_it_is_retried_as_any_failure(small: Path, on_small: Session, tmp_path: Path) -> None:
    """The second attempt finds room: somebody has made some."""
    ballast = small / "ballast"
    marks = str(tmp_path / "marks")

    @task(persist_result=True, retries=1)
    def make(x: int) -> bytes:
        with open(marks, "a") as file:
            file.write("x")
        if len(Path(marks).read_text()) == 2:
            ballast.unlink()
        return os.urandom(4 * MIB)

    @flow(runner=ProcessRunner(max_workers=1))
    def main() -> tuple[int, int]:
        ballast.write_bytes(bytes(9 * MIB))
        future = make.submit(1)
        return len(future.result(WAIT)), future.state.attempt

    assert main() == (4 * MIB, 2)
