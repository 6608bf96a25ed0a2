"""The disk is full while results are stored (fault test 6): said by path, nothing corrupt, on it goes with space."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch import ProcessRunner, ThreadRunner, flow, replay, task
from anabranch import session as sessions
from anabranch.core.errors import ReplayError, ResumeError
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.writer import Writer
from anabranch.results import locks
from anabranch.session import Session
from anabranch.settings import Settings
from tests.acceptance.resuming import Ledger
from tests.chaos.checks import accepted_once
from tests.faults.disks import MIB, fill, sound
from tests.faults.workers import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled(5, "a program on a full disk for each")


@pytest.fixture
def on_small(small: Path, tmp_path: Path) -> Iterator[Session]:
    """Results and the record lie on the small disk.

    Somebody else has the record open: its writer begins anew after a refusal, and SQLite frees the log of a file
    that nobody has open, which would make room.
    """
    settings = Settings(
        home=tmp_path / "home", results=str(small / "results"), records=str(small / "records.db"), progress=False,
        log_level="WARNING",
    )  # fmt: skip
    mine = Session(settings)
    before = sessions.use(mine)
    with closing(sqlite3.connect(small / "records.db")) as reader:
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield mine
        sessions.use(before)
        (small / "ballast").unlink(missing_ok=True)  # of a test that failed: a session ends once its rows are written
        shutil.rmtree(small / "results", ignore_errors=True)
        mine.close()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the record's own file has found no room; what the system refuses is not touched."""
    real, seen = Writer._commit, threading.Event()

    def commit(self: Writer) -> bool:
        try:
            return real(self)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                seen.set()
            raise

    monkeypatch.setattr(Writer, "_commit", commit)
    return seen


def test_a_result_that_finds_no_room_fails_its_task_and_no_other(
    small: Path, on_small: Session, refused: threading.Event
) -> None:
    """Then the record finds none either: its rows wait, and are all there in the end."""

    @task(persist_result=True)
    def make(x: int) -> bytes:
        return os.urandom(2 * MIB)

    @task
    def plain(x: int) -> int:
        return x

    @flow(runner=ProcessRunner(max_workers=2))
    def main() -> tuple[int, list[str]]:
        futures = make.map(range(12), chunk=1)
        futures.wait(WAIT)
        bad = futures.failed()
        texts = [f"{type(futures[i].exception()).__name__}: {futures.states[i].message}" for i in bad]
        fill(small / "ballast")
        assert sum(future.result(WAIT) for future in plain.map(range(100))) == 4950  # a list waits for its commit
        assert refused.wait(WAIT)
        (small / "ballast").unlink()
        return 12 - len(bad), texts

    stored, texts = main()
    assert 2 <= stored <= 5
    assert len(texts) == 12 - stored
    for text in texts:
        assert "could not be stored" in text
        assert str(small / "results") in text
        assert "No space left on device" in text
    ballast = sorted((small / "results").rglob("*"), key=lambda path: path.stat().st_size)
    assert not [path for path in ballast if locks.left_by(path.name)], "what was begun is not left behind"
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
        maps = {map.task: map for map in records.maps(runs["main"].id)}
        assert maps["make"].counts == {"Completed": stored, "Failed": 12 - stored}
        assert maps["plain"].counts == {"Completed": 100}
        assert len(records.items(maps["plain"].id, limit=1000, states=["Completed"])) == 100
    assert sound(small / "records.db")


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


def test_a_resumable_run_goes_on_without_room_and_is_resumed_with_some(
    small: Path, on_small: Session, refused: threading.Event, tmp_path: Path
) -> None:
    """What was stored before stays accepted; what found no room is right in this run, and made again by the next."""
    ran, ballast = Ledger(tmp_path), small / "ballast"

    @task
    def early(x: int) -> bytes:
        ran.note(f"early {x}")
        return bytes([x]) * (MIB // 4)

    @task
    def late(x: int) -> int:
        ran.note(f"late {x}")
        return 10 * x

    @task
    def called(x: int) -> int:
        ran.note(f"called {x}")
        return 100 * x

    @task
    def bad(x: int) -> int:
        if not ran.mended:
            raise ValueError(f"bad {x}")
        return 1000 * x

    @flow(resumable=True, runner=ProcessRunner(max_workers=2))
    def main() -> int:
        before, one = early.map(range(4)), called(1)
        before.wait(WAIT)
        on_small.calls.flush()
        if not ran.mended:
            fill(ballast)
        after = late.map(range(4))
        found = one + called(2) + sum(future.result(WAIT) for future in after)  # a list would wait for its commit
        on_small.calls.flush()
        failing = bad.map([1])[0]
        if not ran.mended:
            assert found == 360
            assert isinstance(failing.exception(WAIT), ValueError)
            assert refused.wait(WAIT)
            ballast.unlink()
        return int(found + failing.result(WAIT) + sum(len(value) for value in before.result(WAIT)))

    state = main(return_state=True)
    assert "ValueError: bad 1" in str(state)
    assert len(ran.take()) == 4 + 4 + 2
    on_small.flush_records()
    assert sound(small / "records.db")
    told = [line.message for line in on_small.records.logs(state.run_id) if "No space left on device" in line.message]
    assert told, "a warning says so"
    assert all(str(small / "results") in line for line in told)
    with pytest.raises(ReplayError, match="no inputs of it are stored"):
        replay(state.run_id, "bad", 0)

    ran.mend()
    assert main.resume(state.run_id) == 360 + 1000 + MIB
    assert ran.take() == ["called 2", "late 0", "late 1", "late 2", "late 3"]
    on_small.flush_records()
    assert sound(small / "records.db")
    row = on_small.records.flow_run(state.run_id)
    assert row is not None
    assert (row.state_name, row.attempt) == ("Completed", 2)
    maps = {map.task: map for map in on_small.records.maps(state.run_id) if map.task != "called"}
    assert {name: map.counts for name, map in maps.items()} == {
        "early": {"Completed": 4}, "late": {"Completed": 4}, "bad": {"Completed": 1},
    }  # fmt: skip
    attempts = {name: [view.attempt for view in on_small.records.items(map.id)] for name, map in maps.items()}
    assert attempts == {"early": [1] * 4, "late": [2] * 4, "bad": [2]}
    assert list(accepted_once(small / "records.db", "process", anew={"late"})) == []
    # The others are accepted once in each run: the first one's values are lost, as those of dead workers are.
    assert list(accepted_once(small / "records.db", "ray", anew=set())) == []


def test_a_resumable_run_whose_parameters_find_no_room_does_not_begin(small: Path, on_small: Session) -> None:
    ballast = small / "ballast"
    began: list[int] = []

    @flow(resumable=True, runner=ThreadRunner(max_workers=1))
    def main(x: int) -> int:
        began.append(x)
        return x

    fill(ballast)
    with pytest.raises(ResumeError, match=f"Cannot store the parameters of .*: cannot write {small}.*No space left"):
        main(3)
    assert began == []
    ballast.unlink()
    assert main(4) == 4
    assert began == [4]


def test_failed_items_are_replayed_of_which_the_first_found_no_room(
    small: Path, on_small: Session, refused: threading.Event, gate: str
) -> None:
    """How items of a map are called is stored with the first that fails; where it cannot be, with the next."""
    ballast = small / "ballast"

    @task
    def bad(x: int, plus: int) -> int:
        if x == 1 and os.path.exists(gate):
            open(gate).close()  # until there is room
        raise ValueError(f"bad {x + plus}")

    @flow(resumable=True, runner=ThreadRunner(max_workers=1))
    def main() -> None:
        fill(ballast)
        futures = bad.map(range(2), plus=10, chunk=1)
        futures[0].exception(WAIT)
        assert refused.wait(WAIT)
        ballast.unlink()
        os.close(os.open(gate, os.O_WRONLY))
        futures.wait(WAIT)
        os.unlink(gate)

    state = main(return_state=True)
    with pytest.raises(ReplayError, match="no inputs of it are stored"):
        replay(state.run_id, "bad", 0)
    with pytest.raises(ValueError, match="bad 11"):
        replay(state.run_id, "bad", 1)
