"""Items in cells of time: from columns, without a step an item."""

from __future__ import annotations

from array import array

import pytest

from anabranch.core.runs import ItemBlock
from anabranch.display.item_times import Axis, Busy, unique


def block(started: list[int], durations: list[int], *, base: float = 100.0, worker: str = "w") -> ItemBlock:
    """Columns in microseconds from `base`."""
    return ItemBlock(
        "m", 0, len(started), None, base, array("i", started), array("i", durations), 1, worker
    )  # fmt: skip


def busy_with(*blocks: ItemBlock, end: float = 110.0, cells: int = 10) -> Busy:
    found = Busy(Axis(100.0, end, cells))
    for one in blocks:
        found.add(one)
    return found


def test_an_item_over_many_cells_fills_each_in_part() -> None:
    found = busy_with(block([500_000], [2_000_000]))
    assert found.seconds == pytest.approx([0.5, 1.0, 0.5, *[0.0] * 7])
    assert (found.first, found.last) == (100.5, 102.5)
    assert found.begun[0] == 1


def test_many_small_items_keep_their_sum_and_their_cells() -> None:
    """Ten thousand items of 0.5 ms, one each ms: half of each cell."""
    starts = [n * 1000 for n in range(10_000)]
    found = busy_with(block(starts, [500] * 10_000))
    assert found.seconds == pytest.approx([0.5] * 10, rel=0.01)
    assert found.begun == [1000] * 10


def test_no_cell_has_more_than_the_time_it_has() -> None:
    """Durations are cut to whole microseconds, which is made up for: never beyond the time that went by."""
    starts = list(range(100_000))
    found = busy_with(block(starts, [1] * 100_000), end=100.1)
    assert max(found.seconds) <= 0.01 + 1e-6


def test_items_that_ran_together_are_added_each() -> None:
    found = busy_with(block([0, 900_000, 100_000], [1_000_000, 1_000_000, 1_000_000]))
    assert sum(found.seconds) == pytest.approx(3.0)
    assert found.begun[0] == 3


def test_what_lies_outside_of_the_axis_is_in_its_first_or_last_cell() -> None:
    found = busy_with(block([0], [1_000_000], base=90.0), block([0], [1_000_000], base=200.0))
    assert found.seconds[0] == pytest.approx(1.0)
    assert found.seconds[-1] == pytest.approx(1.0)


def test_blocks_without_times_do_not_count() -> None:
    assert busy_with(ItemBlock("m", 0, 5)).first is None


def test_maps_that_travelled_together_have_one_time() -> None:
    """A chunk of two stages gives each stage's map the times of its positions."""
    one, same = block([0, 10], [5, 5]), block([0, 10], [5, 5])
    other = block([0, 10], [5, 5], worker="v")
    assert list(unique([one, same, other, ItemBlock("m", 0, 2)], set())) == [one, other]
