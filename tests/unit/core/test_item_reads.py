"""What single runs read: few rows for many reads, and all of it found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import item_reads
from anabranch.core.item_reads import ItemReads
from anabranch.records.batch import stored_row, stored_values

if TYPE_CHECKING:
    from anabranch.core.runs import StoredRow


def noted(count: int) -> tuple[ItemReads, list[StoredRow]]:
    """Return notes on runs that each read the one before, and the rows that were due."""
    reads, rows = ItemReads(), []
    for index in range(1, count + 1):
        if reads.note(index, "series", index - 1):
            rows += reads.rows("series")
    return reads, rows


def test_rows_are_few_and_a_driver_that_dies_leaves_half() -> None:
    for count in (1, 2, 3, 100, 5_000):
        reads, rows = noted(count)
        assert len(rows) <= count.bit_length()
        assert sum(len(row.items) for row in rows) > count / 2
        rows += reads.rows("series")
        assert item_reads.found(rows) == {index: [("series", index - 1)] for index in range(1, count + 1)}
        assert reads.rows("series") == []


def test_a_row_comes_back_from_the_record_as_it_was() -> None:
    reads = ItemReads()
    for index, map, read in ((3, "a", 7), (3, "b", None), (4, "a", 0)):
        reads.note(index, map, read)
    rows = [stored_row((*_columns(row), row.kind)) for row in reads.rows("series")]
    assert item_reads.found(rows) == {3: [("a", 7), ("b", None)], 4: [("a", 0)]}


def _columns(row: StoredRow) -> tuple[object, ...]:
    map, _, name, *rest = stored_values(row)
    return (map, name, *rest)


def test_of_a_series_with_too_many_nothing_is_said() -> None:
    reads, rows = noted(item_reads.MOST + 100)
    assert not reads.note(0, "read", 0)
    assert reads.rows("series") == []
    assert sum(len(row.items) for row in rows) == item_reads.MOST
    assert item_reads.found(rows) is None
