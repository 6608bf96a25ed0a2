"""Frames: what a driver cuts a server reads, and what is none is refused before anything of it is used."""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import Any

import msgpack
import pytest

from anabranch.core import states
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
from anabranch.records import frames
from anabranch.records.batch import Batch, flow_run_values, map_values
from anabranch.records.blocks import decode, encode
from anabranch.records.cutting import Cutter
from anabranch.records.fencing import Fence
from anabranch.records.frames import FORM, SHAPES, FrameError, NewerError, Shape, parse
from anabranch.records.statements import SQL

NOW = 1_800_000_000.0


def every_row() -> list[Any]:
    return [
        FlowRunRow("run-1", "etl", "brave-newt", states.RUNNING, created=1.0, resumable=True, token=3, heartbeat=2.0),
        MapRow("map-1", "run-1", "inc", "map", 5, created=1.0),
        ItemBlock("map-1", 0, 3, None, 5.0, array("i", [1, 2, 3]), array("i", [4, 5, 6]), worker="w"),
        ItemRow("map-1", 3, 1, states.FAILED, message="it broke", started=6.0),
        StoredRow("map-1", "block-1", range(3), range(3)), TransitionRow("run-1", -1, 1, states.RUNNING, "", "", 1.0),
        LogRow(2.0, 20, "log", "a line", "run-1"), HeartbeatRow("run-1", 3.0),
    ]  # fmt: skip


def batch_of(*rows: Any) -> Batch:
    batch = Batch()
    for row in rows:
        batch.take(row)
    return batch


def cut(*rows: Any, cutter: Cutter | None = None) -> list[bytes]:
    batch, fence = batch_of(*rows), Fence()
    fence.note(batch)
    return [body for _, body in (cutter or Cutter("writer-1", "0.1.0")).cut(batch, fence)]


def frame(**changed: Any) -> bytes:
    whole = {"form": FORM, "anabranch": "0.1.0", "writer": "w", "seq": 1, "tokens": {}, "rows": [], "blocks": []}
    return bytes(msgpack.packb({**whole, **changed}))


def block(data: bytes, first: int = 0, last: int = 2) -> list[Any]:
    return ["map-1", first, last, 1, 1, data]


def blob(items: ItemBlock) -> bytes:
    """A sealed block of these items."""
    return encode(batch_of(items).packs.popitem()[1], sealed=True)


# -- what fits -----------------------------------------------------------------------------------


def test_each_query_of_a_batch_has_a_shape_of_its_values() -> None:
    for name, values, rows in batch_of(*every_row()).writes():
        assert SQL[name].count("?") == len(SHAPES[name].columns), name
        for row in rows:
            frames.fitting(name, SHAPES[name], list(values(row)))


def test_a_frame_is_read_as_the_values_that_the_queries_take() -> None:
    batch = batch_of(*every_row())
    [body] = cut(*every_row())
    found = parse(body, "0.1.0")
    wanted = {name: [values(row) for row in rows] for name, values, rows in batch.writes()}
    assert dict(found.rows) == wanted
    assert found.blocks == batch.blocks()
    assert found.tokens == {"run-1": (3, {"map-1"})}
    assert (found.writer, found.seq) == ("writer-1", 1)


def test_a_large_batch_is_several_frames_each_small_and_the_ends_are_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.records.cutting.FRAME_BYTES", 100_000)
    lines = [LogRow(1.0, 20, "log", "x" * 1000, "run-1") for _ in range(300)]
    done = FlowRunRow("run-1", "etl", "n", states.COMPLETED, created=1.0, ended=2.0)
    ended = MapRow("map-1", "run-1", "inc", "map", 5, created=1.0, ended=2.0)
    bodies = cut(done, ended, *lines)
    read = [parse(body, "0.1.0") for body in bodies]
    assert max(map(len, bodies)) <= 100_000
    assert [one.seq for one in read] == list(range(1, len(bodies) + 1))
    order = [(name, row[0]) for one in read for name, rows in one.rows for row in rows]
    assert order[-2:] == [("put_map", "map-1"), ("put_flow_run", "run-1")]
    assert len(order) == 302


def test_text_that_no_database_stores_is_mended_and_other_bad_rows_are_left_out() -> None:
    rows = [
        LogRow(1.0, 20, "log", "a \ud800 b", "run-1"), LogRow(1.0, 1 << 70, "log", "large", "run-1"),
        LogRow(1.0, 20, object(), "odd", "run-1"), LogRow(1.0, 20, "log", "last", "run-1"),  # type: ignore[arg-type]
    ]  # fmt: skip
    [body] = cut(*rows)
    assert [row[3] for _, rows in parse(body, "0.1.0").rows for row in rows] == ["a ? b", "last"]


def test_rows_of_a_lost_run_and_of_its_maps_are_taken_out() -> None:
    other = [FlowRunRow("run-2", "etl", "n", states.RUNNING, created=1.0), HeartbeatRow("run-2", 3.0)]
    [body] = cut(*every_row(), *other)
    left = parse(body, "0.1.0").without({"run-1"})
    assert [(name, len(rows)) for name, rows in left.rows if rows] == [("put_flow_run", 1), ("beat", 1)]
    assert left.blocks == []


def test_signs_of_life_are_told_by_the_servers_clock_and_never_ahead_of_it() -> None:
    rows = every_row()
    rows[0].heartbeat, rows[-1].when = NOW - 20, NOW - 10
    late = HeartbeatRow("run-9", NOW + 3600)
    found = parse(cut(*rows, late)[0], "0.1.0").stamped(100.0, NOW + 95)
    told = dict(found.rows)
    assert told["put_flow_run"][0][frames.HEARTBEAT] == NOW + 80
    assert told["beat"] == [(NOW + 90, "run-1"), (NOW + 95, "run-9")]


def test_a_driver_of_an_earlier_version_sends_fewer_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "beat", Shape("ftti", 1, defaults=("unknown", 7)))
    found = parse(frame(rows=[["beat", [[1.0, "run-1"], [2.0, "run-1", "given"]]]]), "0.1.0")
    assert found.rows == [("beat", [(1.0, "run-1", "unknown", 7), (2.0, "run-1", "given", 7)])]


def test_a_driver_of_a_newer_version_is_told_both_versions() -> None:
    with pytest.raises(NewerError, match=r"anabranch 0\.9\.0 .*server is anabranch 0\.1\.0.*upgrade the server"):
        parse(frame(form=FORM + 1, anabranch="0.9.0", news=[]), "0.1.0")


def flow_run(column: int, value: Any) -> list[Any]:
    values = list(flow_run_values(every_row()[0]))
    values[column] = value
    return values


def map_row(column: int, value: Any) -> list[Any]:
    values = list(map_values(every_row()[1]))
    values[column] = value
    return values


# -- what does not -------------------------------------------------------------------------------

NOT_FRAMES = {
    "nothing": b"",
    "text": b"hello",
    "a list": msgpack.packb([1, 2]),
    "cut": cut(*every_row())[0][:-1],
    "more behind it": cut(*every_row())[0] + b"\x01",
    "a pickle": b"\x80\x04K\x01.",
    "no form": msgpack.packb({"writer": "w", "seq": 1}),
    "no writer": frame(writer=""),
    "a number below one": frame(seq=0),
    "a number that is none": frame(seq=True),
    "an unknown query": frame(rows=[["drop_run", [["run-1"]]]]),
    "too few values": frame(rows=[["beat", [[1.0]]]]),
    "too many values": frame(rows=[["beat", [[1.0, "run-1", 2]]]]),
    "another type": frame(rows=[["beat", [["1.0", "run-1"]]]]),
    "nested": frame(rows=[["beat", [[1.0, ["run-1"]]]]]),
    "none where it must be": frame(rows=[["beat", [[None, "run-1"]]]]),
    "a number too large": frame(rows=[["put_map", [["m", "r", "t", "map", 1 << 63, 1.0, None, *[""] * 7, 0, ""]]]]),
    "rows that are none": frame(rows={"beat": []}),
    "tags that are no JSON": frame(rows=[["put_flow_run", [flow_run(13, "not json")]]]),
    "tags that are no list": frame(rows=[["put_flow_run", [flow_run(13, "{}")]]]),
    "counts that are no JSON": frame(rows=[["put_map", [map_row(7, "")]]]),
    "tags of a map that are no list": frame(rows=[["put_map", [map_row(9, "1")]]]),
    "upstreams nested deeply": frame(rows=[["put_map", [map_row(13, "[" * 100_000)]]]),
    "an account that is no JSON": frame(rows=[["put_map", [map_row(15, "{")]]]),
    "a token that could not go up": frame(rows=[["put_flow_run", [flow_run(frames.TOKEN, (1 << 63) - 1)]]]),
    "a token below zero": frame(rows=[["put_flow_run", [flow_run(frames.TOKEN, -1)]]]),
    "a fence with a token that could not go up": frame(tokens={"run-1": [(1 << 63) - 1, []]}),
    "tokens that are none": frame(tokens={"run-1": ["3", []]}),
    "maps of a token that are none": frame(tokens={"run-1": [3, [1]]}),
    "a block that is none": frame(blocks=[block(b"hello")]),
    "a block of other items": frame(blocks=[block(blob(every_row()[2]), 7)]),
}


@pytest.mark.parametrize("body", NOT_FRAMES.values(), ids=NOT_FRAMES.keys())
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        parse(body, "0.1.0")


def test_the_block_of_the_other_tests_is_good() -> None:
    data = blob(every_row()[2])
    assert parse(frame(blocks=[block(data)]), "0.1.0").blocks[0].data == data


def sealed_with(*, codes: bytes = b"", count: int = 3, workers: bytes = b'["w"]', counts: bytes | None = None) -> bytes:
    """A block of one segment, with columns of a forger's choice; texts are compressed."""
    parts = [struct.pack("<BBdQ", 3, 0, 0.0, count)]
    for text in (codes, workers):
        packed = zlib.compress(text, 9)
        parts.append(struct.pack("<BBI", 1, 1, len(packed)) + packed)
    numbers = [b"\0" * 8, counts or struct.pack("<q", count), b"\0" * 8, b"\0" * 8, b"\0" * 56, b"", b""]
    parts += [struct.pack("<BBI", 0, 8, len(column)) + column for column in numbers]
    return b"".join(parts)


BOMBS = {
    "text of gigabytes": sealed_with(codes=b"\x07" * (64 << 20)),
    "names of gigabytes": sealed_with(workers=b'["' + b"w" * (64 << 20) + b'"]'),
    "names nested deeply": sealed_with(workers=b"[" * 100_000 + b"]" * 100_000),
    "items without number": sealed_with(count=1 << 40),
    "a code of no state": sealed_with(codes=b"\xff\x07\x07"),
    "a segment of no items": sealed_with(counts=struct.pack("<q", 0)),
    "names that are none": sealed_with(workers=b'{"w": 1}'),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_a_block_that_would_fill_the_memory_or_break_a_reader_is_refused(data: bytes) -> None:
    assert len(data) < 300_000
    with pytest.raises(FrameError):
        parse(frame(blocks=[block(data)]), "0.1.0")


def test_the_forgers_block_is_good_without_its_trick() -> None:
    assert decode(sealed_with()).count == 3
    assert parse(frame(blocks=[block(sealed_with())]), "0.1.0").blocks


def test_a_body_that_is_too_large_or_too_deep_or_of_too_many_parts_is_refused() -> None:
    for body in (
        b"\0" * (frames.MOST_BYTES + 1),
        b"\x91" * 5000 + b"\x01",
        b"\x81\xa1x" * 5000 + b"\x01",
        frame(rows=[["beat", [[1.0, "r"]] * (frames.MOST_ROWS + 1)]]),
        frame(rows=[["beat", [[1.0, "r"]] * 6000]] * 2),
        b"\xdd\xff\xff\xff\xff",
    ):
        with pytest.raises(FrameError):
            parse(body, "0.1.0")


def test_many_blocks_of_many_items_are_refused_together() -> None:
    column = blob(ItemBlock("map-1", 0, 60_000))
    with pytest.raises(FrameError, match="more than"):
        parse(frame(blocks=[block(column, 0, 59_999)] * 100), "0.1.0")


def test_the_runs_that_a_frame_ends_are_those_that_its_batch_ends() -> None:
    rows = [
        FlowRunRow("ordered", "etl", "n", states.COMPLETED, created=1.0, ended=2.0, token=4),
        FlowRunRow("plain", "etl", "n", states.COMPLETED, created=1.0, ended=2.0),
        FlowRunRow("suspended", "etl", "n", states.SUSPENDED, created=1.0, ended=2.0, token=2),
        FlowRunRow("running", "etl", "n", states.RUNNING, created=1.0, token=1),
    ]
    [body] = cut(*rows)
    found = [list(rows) for _, _, rows in batch_of(*rows).ends()]
    assert found == [parse(body, "0.1.0").ends] * 2
    assert parse(body, "0.1.0").ends == [("ordered", 4)]
