"""Items as columns, whatever keeps the record: what reports of runs are made of."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest

from anabranch.core.runs import ItemBlock, MapRow
from anabranch.core.spent import Spent
from tests.contract.recording import NOW, write

if TYPE_CHECKING:
    from anabranch.core.runs import Records



def test_columns_come_back_as_they_were_written(records: Records) -> None:
    started, durations = array("i", [0, 1000, 2000]), array("i", [500, 700, 1_500_000])
    first = ItemBlock("m", 4, 3, bytes([7, 9, 8]), NOW, started, durations, 1, "w1", Spent(1, 2, 3, 4, 5, 6, 7))
    write(records, first, ItemBlock("m", 9, 2, attempt=2, base=NOW + 3))
    found = records.ended("m")
    assert [(b.first, b.count, b.codes, b.attempt, b.worker) for b in found.blocks] == [
        (4, 3, bytes([7, 9, 8]), 1, "w1"), (9, 2, None, 2, ""),
    ]  # fmt: skip
    one, other = found.blocks
    assert (one.started, one.durations, one.spent) == (started, durations, Spent(1, 2, 3, 4, 5, 6, 7))
    assert one.base == pytest.approx(NOW)
    assert (other.started, other.spent) == (None, Spent())


def test_what_was_spent_adds_up_over_blocks_that_merge(records: Records) -> None:
    """Single items of one worker come one by one; their blocks are one segment then."""
    one = array("i", [10])
    for n in range(20):
        write(records, ItemBlock("m", n, 1, None, NOW + n, one, one, 1, "w", Spent(queue=2, calls=n)))
    write(records, MapRow("m", "r", "t", "submit", 20, NOW, NOW + 30))
    blocks = records.ended("m").blocks
    assert sum(block.count for block in blocks) == 20
    told = [Spent(*block.spent) for block in blocks if block.spent is not None]
    assert (sum(spent.queue for spent in told), sum(spent.calls for spent in told)) == (40, sum(range(20)))


def test_a_map_says_what_it_reads_on_how_many_slots_and_what_became_of_values(records: Records) -> None:
    row = MapRow(
        "m", "r", "t", "map", 3, NOW, NOW + 1, {"Completed": 3}, upstreams=("a", "b"), slots=4,
        account={"made": 10.0, "recording": 0.25},
    )  # fmt: skip
    write(records, row)
    assert records.maps("r") == [row]
