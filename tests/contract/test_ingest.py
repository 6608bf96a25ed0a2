"""Frames go into the record once each, in order, whatever becomes of requests and answers; SQLite and PostgreSQL."""

from __future__ import annotations

import importlib
import random
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from anabranch.core import states
from anabranch.core.runs import HeartbeatRow, ItemBlock, LogRow, MapRow, TransitionRow
from anabranch.records.batch import Batch
from anabranch.records.cutting import Cutter
from anabranch.records.fencing import Fence
from anabranch.records.frames import parse
from anabranch.records.ingest import Ingest, Job
from anabranch.records.sqlite import SqliteRecords
from tests.contract.recording import NOW, WAIT, FixedClock, run_row, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.runs import Row
    from anabranch.records.recorder import Recorder


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Recorder]:
    made: Recorder
    if request.param == "sqlite":
        made = SqliteRecords(tmp_path / "runs.db", clock=FixedClock())
    else:
        postgres = importlib.import_module("anabranch.records.postgres")
        made = postgres.PostgresRecords(request.getfixturevalue("postgres_address"), clock=FixedClock())
    yield made
    made.close()


@pytest.fixture
def ingest(record: Recorder) -> Iterator[Ingest]:
    made = Ingest(record.database, "0.1.0", FixedClock())
    yield made
    made.close()


class Driver:
    """Cuts frames as a program does."""

    def __init__(self, writer: str = "writer-1") -> None:
        self.fence = Fence()
        self.cutter = Cutter(writer, "0.1.0")

    def frames(self, *rows: Row) -> list[bytes]:
        batch = Batch()
        for row in rows:
            batch.take(row)
        self.fence.note(batch)
        return [body for _, body in self.cutter.cut(batch, self.fence)]

    def frame(self, *rows: Row) -> bytes:
        [body] = self.frames(*rows)
        return body


def said(ingest: Ingest, body: bytes, sent: float | None = None) -> tuple[int, dict[str, Any]]:
    status, found = ingest.answer(body, sent)
    return status, msgpack.unpackb(found)


def step(n: int) -> TransitionRow:
    return TransitionRow("run-1", -1, n, states.RUNNING, "Running", "", NOW)


def steps(record: Recorder) -> list[int]:
    return [row.attempt for row in record.transitions("run-1")]


def test_rows_of_all_kinds_are_as_if_they_were_written_here(record: Recorder, ingest: Ingest) -> None:
    map = MapRow("map-1", "run-1", "inc", "map", 3, created=NOW, ended=NOW, counts={"Completed": 3})
    rows = [run_row(), map, ItemBlock("map-1", 0, 3), step(1), LogRow(NOW, 20, "log", "a line \0 of it", "run-1")]
    assert said(ingest, Driver().frame(*rows)) == (200, {"lost": [], "anabranch": "0.1.0", "form": 1})
    assert record.flow_run("run-1") == run_row()
    assert record.maps("run-1") == [map]
    assert [view.state for view in record.items("map-1")] == ["Completed"] * 3
    assert [line.message for line in record.logs("run-1")] == ["a line \0 of it"]


def test_a_frame_that_comes_again_is_answered_and_not_written_again(record: Recorder, ingest: Ingest) -> None:
    driver = Driver()
    first, second = driver.frame(run_row(), step(1)), driver.frame(step(2))
    for body in (first, first, second, first, second):
        assert said(ingest, body)[0] == 200
    assert steps(record) == [1, 2]


def test_a_frame_that_leaves_a_gap_is_refused_with_the_number_that_is_wanted(record: Recorder, ingest: Ingest) -> None:
    driver = Driver()
    bodies = [driver.frame(step(n)) for n in range(1, 5)]
    assert said(ingest, bodies[1])[0] == 409
    assert said(ingest, bodies[0])[0] == 200
    status, found = said(ingest, bodies[3])
    assert (status, found["wanted"]) == (409, 2)
    assert steps(record) == [1]
    assert said(ingest, Driver("writer-2").frame(step(9)))[0] == 200


def test_frames_in_any_order_and_number_are_each_written_once_in_their_order(record: Recorder, ingest: Ingest) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    driver = Driver()
    bodies = [driver.frame(step(n)) for n in range(1, 9)]
    while steps(record) != list(range(1, 9)):
        status, _ = said(ingest, rng.choice(bodies))
        assert status in (200, 409)
    assert {said(ingest, body)[0] for body in bodies} == {200}
    assert steps(record) == list(range(1, 9))


@pytest.mark.parametrize("keep", [0, 1, 10, -1])
def test_a_cut_frame_is_refused_and_comes_whole_later(record: Recorder, ingest: Ingest, keep: int) -> None:
    body = Driver().frame(run_row(), step(1))
    assert said(ingest, body[:keep])[0] == 422
    assert steps(record) == []
    assert said(ingest, body)[0] == 200
    assert steps(record) == [1]


def test_a_newer_frame_and_one_too_large_have_statuses_of_their_own(ingest: Ingest) -> None:
    newer = msgpack.packb({**msgpack.unpackb(Driver().frame(step(1))), "form": 99, "anabranch": "9.0"})
    status, found = said(ingest, newer)
    assert status == 426
    assert "9.0" in found["detail"]
    assert said(ingest, b"\0" * (9 << 20))[0] == 413


def test_many_drivers_at_once_are_each_answered(record: Recorder, ingest: Ingest) -> None:
    write(record, run_row())
    answers: list[int] = []

    def drive(name: str) -> None:
        driver = Driver(name)
        for n in range(5):
            body = driver.frame(LogRow(NOW, 20, name, str(n), "run-1"))
            answers.extend(said(ingest, body)[0] for _ in range(2))

    threads = [threading.Thread(target=drive, args=(f"writer-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert answers == [200] * 80
    lines = [(line.logger, line.message) for line in record.logs("run-1")]
    assert sorted(lines) == [(f"writer-{n}", str(i)) for n in range(8) for i in range(5)]


def test_a_bad_row_is_left_out_and_neither_its_frame_nor_others_of_its_commit_go_with_it(
    record: Recorder, ingest: Ingest
) -> None:
    late = LogRow(
        float("nan"), 20, "log", "no time", "run-1"
    )  # SQLite takes it for nothing, where there must be a time
    bodies = [Driver("writer-1").frame(LogRow(NOW, 20, "log", "one", "run-1"), late), Driver("writer-2").frame(step(1))]
    jobs = [Job(parse(body, "0.1.0")) for body in bodies]
    ingest.write(jobs)
    assert [job.new and job.error is None for job in jobs] == [True, True]
    assert "one" in [line.message for line in record.logs("run-1")]
    assert steps(record) == [1]


def test_rows_of_a_driver_that_lost_its_run_are_not_written_and_it_is_told(record: Recorder, ingest: Ingest) -> None:
    driver = Driver()
    map = MapRow("map-1", "run-1", "inc", "map", 3, created=NOW)
    assert said(ingest, driver.frame(run_row(resumable=True, pid=1, host="far", token=0), map))[0] == 200
    with record.database.opened() as db:
        db.execute("UPDATE flow_runs SET token = 1 WHERE id = 'run-1'")
    late = driver.frame(step(7), ItemBlock("map-1", 0, 3), HeartbeatRow("run-1", NOW))
    for _ in range(2):  # the answer to the first was lost
        status, found = said(ingest, late)
        assert (status, found["lost"]) == (200, ["run-1"])
    assert steps(record) == []
    assert record.items("map-1") == []


def test_a_sign_of_life_counts_by_the_servers_clock(record: Recorder, ingest: Ingest) -> None:
    driver = Driver()
    assert said(ingest, driver.frame(run_row(pid=1, host="far", heartbeat=500.0)), sent=510.0)[0] == 200
    found = record.flow_run("run-1")
    assert found is not None
    assert found.heartbeat == NOW - 10


def test_small_blocks_of_an_ended_map_are_merged_by_the_server(record: Recorder, ingest: Ingest) -> None:
    driver = Driver()
    map = MapRow("map-1", "run-1", "inc", "map", 1200, created=NOW)
    said(ingest, driver.frame(run_row(), map))
    for first in range(0, 1200, 300):
        said(ingest, driver.frame(ItemBlock("map-1", first, 300)))
    ended = MapRow("map-1", "run-1", "inc", "map", 1200, created=NOW, ended=NOW)
    said(ingest, driver.frame(ended))
    ingest.close()
    with record.database.opened() as db:
        assert db.execute("SELECT first, last, sealed FROM item_blocks").fetchall() == [(0, 1199, 1)]
    assert len(record.items("map-1", limit=2000)) == 1200


def test_a_record_that_cannot_be_written_is_told_and_the_frame_comes_again(tmp_path: Path) -> None:
    record = SqliteRecords(tmp_path / "runs.db", clock=FixedClock())
    ingest = Ingest(record.database, "0.1.0", FixedClock())
    body = Driver().frame(step(1))
    with record.database.opened() as other, record.database.transaction(other):
        status, found = said(ingest, body)
    assert status == 503
    assert "locked" in found["detail"]
    assert said(ingest, body)[0] == 200
    assert steps(record) == [1]
    ingest.close()
    record.close()


def test_the_key_of_a_run_writes_that_run_its_subflows_and_their_maps_and_nothing_else(
    record: Recorder, ingest: Ingest
) -> None:
    write(record, run_row("other"), MapRow("other-map", "other", "inc", "map", 3, created=NOW))
    driver = Driver()
    mine = [
        run_row(), MapRow("map-1", "run-1", "inc", "map", 3, created=NOW), ItemBlock("map-1", 0, 3),
        run_row("child", parent_run="map-1/2"), LogRow(NOW, 20, "log", "of nobody", ""),
    ]  # fmt: skip
    assert ingest.answer(driver.frame(*mine), None, "run-1").status == 200
    later = [run_row("grandchild", parent_run="child"), MapRow("map-2", "child", "inc", "map", 1, created=NOW)]
    assert ingest.answer(driver.frame(*later, HeartbeatRow("run-1", NOW)), None, "run-1").status == 200
    foreign: list[Row] = [
        HeartbeatRow("other", NOW), ItemBlock("other-map", 0, 3), run_row("other", parent_run="run-1"),
        MapRow("other-map", "run-1", "inc", "map", 3, created=NOW), run_row("new"), run_row("new", parent_run="other"),
        TransitionRow("other", -1, 1, states.FAILED, "Failed", "", NOW), LogRow(NOW, 20, "log", "x", "other"),
        run_row("loop", parent_run="loop"),
    ]  # fmt: skip
    for row in foreign:
        stranger = Driver("stranger")
        status, found = ingest.answer(stranger.frame(row, HeartbeatRow("run-1", NOW)), None, "run-1")
        assert status == 403, row
        assert "run-1" in msgpack.unpackb(found)["detail"]
    assert record.flow_run("other") == run_row("other")
    assert record.flow_run("new") is None


def test_frames_committed_together_end_all_their_orders_before_they_write_a_run(
    record: Recorder, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(record, run_row("run-1", token=1), run_row("run-2", token=1))
    done = [run_row(id, token=1, state=states.COMPLETED, ended=NOW) for id in ("run-2", "run-1")]
    bodies = [Driver("writer-1").frame(run_row("run-1", token=1)), *[Driver(f"of-{r.id}").frame(r) for r in done]]
    names = {sql: name for name, sql in record.database.sql.items()}
    wrote: list[tuple[str, list[Any]]] = []
    many = record.database.many

    def told(connection: Any, sql: str, rows: Any) -> None:
        rows = list(rows)
        wrote.append((names[sql], [row[0] for row in rows]))
        many(connection, sql, rows)

    monkeypatch.setattr(record.database, "many", told)
    jobs = [Job(parse(body, "0.1.0")) for body in bodies]
    ingest.write(jobs)
    assert [job.error for job in jobs] == [None] * 3
    both = ["run-1", "run-2"]
    assert wrote[:2] == [("end_turn", both), ("end_order", both)]
    assert [name for name, _ in wrote[2:]] == ["put_flow_run"] * 3
    ingest.write([Job(parse(bodies[1], "0.1.0"))])
    assert len(wrote) == 5, "what comes again ends nothing again"


def test_the_key_of_a_run_is_for_its_token_alone_and_its_rows_are_fenced_without_being_asked(
    record: Recorder, ingest: Ingest
) -> None:
    write(record, run_row(token=3))
    driver = Driver()
    map = MapRow("map-1", "run-1", "inc", "map", 3, created=NOW)
    assert ingest.answer(driver.frame(run_row(token=3), map), None, "run-1", 3).status == 200
    assert ingest.answer(Driver("stranger").frame(run_row(token=4)), None, "run-1", 3).status == 403
    before = Driver("before")  # left by the driver before this one, and sent with the key of this one
    before.fence.tokens["run-1"] = 2
    for row in (step(6), run_row(token=2)):
        status, found = ingest.answer(before.frame(row), None, "run-1", 3)
        assert (status, msgpack.unpackb(found)["lost"]) == (200, ["run-1"])
    write(record, run_row(token=4))
    late = [step(7), ItemBlock("map-1", 0, 3), run_row("child", parent_run="run-1"), run_row(token=3)]
    bare = {**msgpack.unpackb(driver.frame(*late)), "tokens": {}}
    status, found = ingest.answer(msgpack.packb(bare), None, "run-1", 3)
    assert (status, msgpack.unpackb(found)["lost"]) == (200, ["run-1"])
    assert steps(record) == []
    assert record.items("map-1") == []
    assert record.flow_run("child") is None
    assert record.flow_run("run-1") == run_row(token=4)


def test_the_key_of_a_run_moves_nothing_of_its_own_to_another_run(record: Recorder, ingest: Ingest) -> None:
    map = MapRow("map-1", "run-1", "inc", "map", 3, created=NOW)
    child = run_row("child", parent_run="run-1")
    write(record, run_row(), run_row("other"), map, child)
    for row in (replace(map, flow_run="other"), replace(child, parent_run="other")):
        status, _ = ingest.answer(Driver("stranger").frame(row), None, "run-1")
        assert status == 403, row
    assert record.maps("run-1") == [map]
    assert record.maps("other") == []
    assert record.flow_run("child") == child
