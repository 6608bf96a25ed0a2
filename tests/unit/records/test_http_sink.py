"""A driver's rows on their way to a server that is away, loses answers, was restored, or refuses: each arrives once."""

from __future__ import annotations

import logging
import random
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import AnabranchError
from anabranch.core.runs import FlowRunRow, ItemBlock, LogRow, MapRow, TransitionRow
from anabranch.records import http_sink
from anabranch.records.batch import Batch
from anabranch.records.http_sink import HttpSink
from anabranch.records.ingest import Ingest
from anabranch.records.outbox import Outbox, push
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.writer import Aside, Writer
from tests.ingesting import AWAY, FINE, LOST, TWICE, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT = 60.0


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecords]:
    made = SqliteRecords(tmp_path / "runs.db")
    yield made
    made.close()


@pytest.fixture
def line(record: SqliteRecords) -> Iterator[Line]:
    ingest = Ingest(record.database, "0.1.0")
    yield Line(ingest)
    ingest.close()


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


class Program:
    """A writer with its sink."""

    def __init__(self, line: Line, outbox: Outbox, name: str = "writer-1", **given: Any) -> None:
        self.sink = HttpSink(line, outbox, SYSTEM, name, "0.1.0", **given)  # type: ignore[arg-type]
        self.writer = Writer(self.sink, 0.001)
        self.told = 0

    def tell(self, times: int = 1, length: int = 0) -> None:
        """Append numbered lines, a commit each as far as the writer keeps up."""
        for _ in range(times):
            self.writer.append([LogRow(float(self.told), 20, self.sink._writer, "x" * length, "run-1")])
            self.told += 1


def until(check: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    pause, end = threading.Event(), time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        pause.wait(0.005)


def told(record: SqliteRecords) -> list[int]:
    """The numbers of the lines in the record, in the order in which they were written."""
    with record.database.opened() as db:
        return [int(row[0]) for row in db.execute("SELECT at FROM logs ORDER BY id")]


def test_rows_are_in_the_record_once_the_writer_says_so(record: SqliteRecords, line: Line, outbox: Outbox) -> None:
    program = Program(line, outbox)
    program.tell(20)
    assert program.writer.flush(WAIT)
    assert told(record) == list(range(20))
    program.writer.close()
    assert not outbox.folder.exists()


def test_lost_answers_and_repeated_requests_write_nothing_twice(
    record: SqliteRecords, line: Line, outbox: Outbox
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    line.fates = random.Random(seed).choices([FINE, AWAY, LOST, TWICE], k=60)
    program = Program(line, outbox)
    for _ in range(40):
        program.tell(3)
        program.writer.flush(WAIT, patient=True)
    assert told(record) == list(range(120))
    program.writer.close()


def test_while_the_server_is_away_nobody_waits_and_all_comes_in_order_afterwards(
    record: SqliteRecords, line: Line, outbox: Outbox
) -> None:
    line.away = True
    program = Program(line, outbox)
    program.tell(5)
    assert not program.writer.flush(WAIT)
    program.tell(5)
    assert not program.writer.flush(WAIT)
    assert told(record) == []
    line.away = False
    assert program.writer.flush(WAIT, patient=True)
    assert told(record) == list(range(10))
    assert program.writer.flush(WAIT)
    program.writer.close()


def test_a_million_items_wait_in_few_bytes_while_the_server_is_away(
    record: SqliteRecords, line: Line, outbox: Outbox
) -> None:
    line.away = True
    program = Program(line, outbox)
    program.writer.append([MapRow("map-1", "run-1", "inc", "map", 1_000_000, created=1.0)])
    assert not program.writer.flush(WAIT)
    for first in range(0, 1_000_000, 1000):
        program.writer.append([ItemBlock("map-1", first, 1000)])
    line.away = False
    assert program.writer.flush(WAIT, patient=True)
    assert sum(map(len, line.bodies)) < 300_000
    program.writer.close()
    line.ingest.close()
    assert [view.index for view in record.items("map-1", first=999_998)] == [999_998, 999_999]
    with record.database.opened() as db:
        assert db.execute("SELECT sum(last - first + 1) FROM item_blocks").fetchone()[0] == 1_000_000


def test_much_that_waits_goes_to_disk_for_this_user_alone_and_comes_in_order(
    record: SqliteRecords, line: Line, outbox: Outbox
) -> None:
    line.away = True
    program = Program(line, outbox, most=100_000)
    for _ in range(5):
        program.tell(60, length=1000)
        assert not program.writer.flush(WAIT)
    program.tell(3)
    path = outbox.path("writer-1")
    until(lambda: path.exists() and path.stat().st_size > 200_000)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(outbox.folder.stat().st_mode) == 0o700
    line.away = False
    assert program.writer.flush(WAIT, patient=True)
    assert told(record) == list(range(303))
    assert outbox.waiting() == []
    program.writer.close()


def left_behind(line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, name: str = "writer-1") -> Program:
    """A program that ended while the server was away, after some rows had arrived."""
    monkeypatch.setattr(http_sink, "END_SECONDS", 0.0)
    program = Program(line, outbox, name)
    program.tell(4)
    assert program.writer.flush(WAIT)
    line.away = True
    program.tell(4)
    program.writer.flush(WAIT)
    program.tell(4)
    program.writer.close(WAIT)
    line.away = False
    assert program.writer._thread is not None
    assert not program.writer._thread.is_alive()
    return program


def test_the_end_of_a_program_leaves_its_rows_on_disk_and_says_where(
    record: SqliteRecords, line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "anabranch.records"):
        left_behind(line, outbox, monkeypatch)
    assert str(outbox.folder) in caplog.text
    assert "anabranch records push" in caplog.text
    assert told(record) == [0, 1, 2, 3]
    assert [path.name for path in outbox.waiting(line.name)] == ["writer-1.frames"]


def test_the_next_program_sends_what_a_dead_one_left(
    record: SqliteRecords, line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(line, outbox, monkeypatch)
    stranger = Program(Line(line.ingest, "http://other.test"), outbox, "stranger")
    next_one = Program(line, outbox, "writer-2")
    for program in (stranger, next_one):
        assert program.sink.pause() is None, "it has not met its server yet"
        batch = Batch()
        batch.take(LogRow(12.0, 20, "l", "", "run-1"))
        program.sink.take(batch)
        program.sink.deliver()
        assert program.sink.pause() == 0
        for _ in range(10):
            program.sink.idle()
        assert len(outbox.waiting()) == (program is stranger), "each server gets its own alone"
    assert sorted(told(record)) == [*range(12), 12, 12]


def test_two_programs_that_send_one_outbox_write_nothing_twice(
    record: SqliteRecords, line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(line, outbox, monkeypatch)
    [path] = outbox.waiting()
    one = push(path, line, SYSTEM)  # type: ignore[arg-type]
    next(one)
    assert list(push(path, line, SYSTEM)) == []  # type: ignore[arg-type]
    one.close()  # it was killed there
    list(push(path, line, SYSTEM))  # type: ignore[arg-type]
    assert told(record) == list(range(12))
    assert outbox.waiting() == []


def test_a_server_that_goes_away_meanwhile_keeps_the_outbox(
    record: SqliteRecords, line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(line, outbox, monkeypatch)
    [path] = outbox.waiting()
    line.fates = [LOST]
    with pytest.raises(AnabranchError):
        list(push(path, line, SYSTEM))  # type: ignore[arg-type]
    assert path.exists()
    list(push(path, line, SYSTEM))  # type: ignore[arg-type]
    assert told(record) == list(range(12))


def test_an_outbox_whose_last_frame_is_cut_gives_the_others(
    record: SqliteRecords, line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(line, outbox, monkeypatch)
    [path] = outbox.waiting()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[-30:])
    list(push(path, line, SYSTEM))  # type: ignore[arg-type]
    assert told(record) == list(range(12))
    assert not path.exists()


def test_a_record_that_was_restored_takes_what_comes_from_then_on(
    record: SqliteRecords, line: Line, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    program = Program(line, outbox)
    for _ in range(6):
        program.tell()
        assert program.writer.flush(WAIT)
    with record.database.opened() as db:
        db.execute("DELETE FROM logs WHERE at >= 2")
        db.execute("UPDATE ingest_writers SET seq = 2")
    line.fates = [FINE, LOST]
    for _ in range(3):
        program.tell()
        assert program.writer.flush(WAIT, patient=True)
    assert told(record) == [0, 1, 6, 7, 8]
    assert "frames 3 to 6" in caplog.text
    program.writer.close()


def test_a_refused_frame_is_left_out_and_holds_up_no_other(
    record: SqliteRecords, line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from anabranch.records import frames

    program = Program(line, outbox)
    shape = frames.SHAPES["add_transition"]
    monkeypatch.setitem(frames.SHAPES, "add_transition", shape._replace(columns="tiiitti"))
    program.writer.append([TransitionRow("run-1", -1, 1, states.RUNNING, "", "", 1.5)])
    assert program.writer.flush(WAIT)
    program.tell()
    assert program.writer.flush(WAIT)
    assert told(record) == [0]
    assert "add_transition: column 6 is float" in caplog.text
    program.writer.close()


def test_a_driver_hears_that_another_one_has_its_run(record: SqliteRecords, line: Line, outbox: Outbox) -> None:
    program = Program(line, outbox)
    program.writer.append([FlowRunRow("run-1", "etl", "n", states.RUNNING, created=1.0, resumable=True)])
    assert program.writer.flush(WAIT)
    with record.database.opened() as db:
        db.execute("UPDATE flow_runs SET token = 1")
    program.writer.append([TransitionRow("run-1", -1, 1, states.RUNNING, "", "", 1.0)])
    assert program.writer.flush(WAIT)
    assert program.sink.lost == {"run-1"}
    before = len(line.bodies)
    program.writer.append([TransitionRow("run-1", -1, 2, states.RUNNING, "", "", 1.0)])
    assert program.writer.flush(WAIT)
    assert len(line.bodies) == before, "nothing of it is sent any more"
    assert record.transitions("run-1") == []
    program.writer.close()


def test_rows_that_wait_for_long_outlast_a_program_that_is_killed(
    record: SqliteRecords, line: Line, outbox: Outbox
) -> None:
    line.away = True
    program = Program(line, outbox, longest=0.01)
    other: Any = Line(line.ingest)  # of its agent, once the program is dead

    def arrived(rows: int) -> bool:
        for path in outbox.waiting():
            list(push(path, other, SYSTEM))
        return told(record) == list(range(rows))

    program.tell(3)
    until(lambda: arrived(3))
    program.tell(2)
    until(lambda: arrived(5))
    program.tell(2)
    line.away = False
    assert program.writer.flush(WAIT, patient=True)
    assert told(record) == list(range(7))
    program.writer.close()


def test_rows_wait_in_memory_for_a_while_before_they_go_to_disk(
    record: SqliteRecords, line: Line, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that restarts within seconds costs no writes there; what is written is written in large pieces."""
    now, line.away = 100.0, True
    monkeypatch.setattr(http_sink.time, "monotonic", lambda: now)
    sink, path = HttpSink(line, outbox, SYSTEM, "writer-1", "0.1.0"), outbox.path("writer-1")  # type: ignore[arg-type]
    for second in range(20):
        now, batch = 100.0 + second, Batch()
        batch.take(LogRow(float(second), 20, "l", "", "run-1"))
        if sink.set_aside(batch, None) is Aside.LEFT:
            sink.take(batch)
        size = path.stat().st_size if path.exists() else 0
        assert bool(size) == (second >= http_sink.MEMORY_SECONDS), second
        with pytest.raises(AnabranchError):
            sink.deliver()
    assert len(sink._frames) == 20 % (http_sink.MEMORY_SECONDS + 1)
    list(push(path, Line(line.ingest), SYSTEM))  # type: ignore[arg-type]
    assert told(record) == list(range(18))
