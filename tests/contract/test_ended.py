"""What `Records.ended` gives to a reader that watches a map, over every kind of records; and the view of them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from anabranch.cli.watched import RecordSource
from anabranch.core import states
from anabranch.core.runs import ItemBlock, ItemRow, LogRow, MapRow, Records
from anabranch.display.watch.tally import Tally
from tests.contract.recording import NOW, run_row, write

if TYPE_CHECKING:
    from pathlib import Path


def looked(records: Records, tally: Tally, map: str = "m") -> dict[str, int]:
    tally.take(records.ended(map, tally.mark))
    return tally.counts()


def test_what_has_ended_comes_once_and_counts_once(records: Records) -> None:
    tally = Tally()
    assert looked(records, tally) == {}
    times = array("i", [0, 1_000_000])
    write(records, ItemBlock("m", 0, 2, None, NOW, times, array("i", [500_000, 250_000]), 1, "w1"))
    assert looked(records, tally) == {"Completed": 2}
    write(records, ItemBlock("m", 2, 3, bytes([7, 9, 8]), NOW, None, None, 1, "w2"))
    for _ in range(2):
        assert looked(records, tally) == {"Completed": 3, "Failed": 1, "Cached": 1}
    assert {name: work.items for name, work in tally.workers.items()} == {"w1": 2, "w2": 3}
    assert (tally.workers["w1"].busy, tally.workers["w1"].last) == (0.75, NOW + 1.25)
    assert looked(records, Tally(), "none") == {}


def test_blobs_that_were_merged_are_not_counted_again(records: Records) -> None:
    """The end of a map merges its blobs into a new one."""
    tally = Tally()
    for n in range(3):
        write(records, ItemBlock("m", 200 * n, 200, None, NOW, None, None, 1, f"w{n % 2}"))
        assert looked(records, tally) == {"Completed": 200 * (n + 1)}
    write(records, MapRow("m", "run-1", "double", "map", 600, NOW, NOW + 1, {"Completed": 600}))
    records.close()
    assert looked(records, tally) == {"Completed": 600}
    assert {name: work.items for name, work in tally.workers.items()} == {"w0": 400, "w1": 200}


def test_a_later_attempt_counts_whenever_it_is_read(records: Records) -> None:
    tally = Tally()
    write(records, ItemBlock("m", 0, 4, bytes([7, 9, 7, 7])), ItemRow("m", 1, 1, states.FAILED))
    write(records, ItemRow("m", 2, 1, states.AWAITING_RETRY), ItemRow("m", 5, 1, states.TRIGGER_FAILED))
    assert looked(records, tally) == {"Completed": 3, "Failed": 1, "TriggerFailed": 1}
    write(records, ItemBlock("m", 1, 1, attempt=2))
    assert looked(records, tally) == {"Completed": 4, "TriggerFailed": 1}
    write(records, ItemRow("m", 6, 1, states.AWAITING_RETRY), ItemRow("m", 6, 2, states.FAILED))
    assert looked(records, tally) == {"Completed": 4, "TriggerFailed": 1, "Failed": 1}
    assert tally.retried == 3
    assert looked(records, fresh := Tally()) == tally.counts()
    assert bytes(fresh.codes) == bytes(tally.codes)


def test_the_view_finds_runs_maps_workers_failures_and_lines(records: Records, tmp_path: Path) -> None:
    write(
        records,
        run_row("run-1", created=NOW - 20),
        run_row("run-2", name="calm-elk", created=NOW - 30, state=states.COMPLETED, state_name="", ended=NOW),
        MapRow("m", "run-1", "double", "map", 10, NOW),
        MapRow("old", "run-1", "double", "map", 10, NOW, superseded="m"),
        ItemBlock("m", 0, 3, bytes([7, 9, 7]), NOW, None, None, 1, "w1"),
        ItemRow("m", 1, 1, states.FAILED, message="bad", error_type="ValueError", reason="budget/user"),
        LogRow(NOW, 20, "lg", "a line", "run-1"), LogRow(NOW, 20, "lg", "another", "run-2"),
    )  # fmt: skip
    settled: list[int] = []
    source = RecordSource(records, tmp_path, "here", lambda: settled.append(1), clock=lambda: NOW)
    facts = source.look("")
    assert (facts.run, facts.total, settled) == (records.flow_run("run-1"), 2, [1])
    assert [(map.id, tally.done, tally.failed) for map, tally in facts.maps] == [("m", 3, 1)]
    assert list(facts.failures) == ["double: 1 x ValueError: bad (item 1)"]
    assert [line.message for line in facts.lines] == ["a line"]
    facts = source.look("calm-elk")
    assert facts.run is not None
    assert (facts.run.id, [line.message for line in facts.lines], facts.maps) == ("run-2", ["another"], [])
    assert "asked to stop" in source.cancel("run-1")
    assert records.cancel_requested(["run-1"]) == {"run-1"}
    assert "has already ended as Completed" in source.cancel("run-2")
    assert "ValueError: bad" in source.explain("run-1")
    assert "has not ended" in source.retry("run-1")
    assert source.explain("none") == "flow run none is not in the record any more"
