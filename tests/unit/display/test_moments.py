"""A moment of a run, item by item: exactly what ran then, however long the run."""

from __future__ import annotations

from array import array

import pytest

from anabranch.core import states
from anabranch.core.runs import ItemBlock, ItemRow, MapRow
from anabranch.display import moments
from anabranch.display.timelines import _time
from anabranch.records.memory import MemoryRecords
from tests.unit.display.recorded import NOW, block, checked, run_row

MAP = MapRow("m", "run-1", "load", "map", 1000, NOW, NOW + 9, slots=2)


def gathered(*rows: object, begin: float, end: float, **details: object) -> moments.Moment:
    records, run = MemoryRecords(), run_row(**details)
    records.append([run, *rows])  # type: ignore[list-item]
    return moments.gather(records, run, begin, end, NOW + 20)


def test_exactly_the_items_of_the_moment_are_drawn() -> None:
    """Of items of 1 ms, one after another, those from 100 to 104.5 ms; the first of them is cut."""
    bad = bytearray([states.COMPLETED] * 1000)
    bad[102] = states.FAILED
    rows = [block(0, 1000, "w-1", 0.0, bytes(bad)), block(1000, 1000, "w-2", 5.0)]
    found = gathered(MAP, *rows, begin=0.1001, end=0.1045)
    assert [mark.text.partition(":")[0] for mark in found.marks] == [f"load[{n}]" for n in range(100, 105)]
    assert "Failed, ran 1 ms" in found.marks[2].text
    assert found.marks[0].start == pytest.approx(NOW + 0.1001, abs=1e-5)
    assert found.marks[0].seconds == pytest.approx(0.0009, abs=1e-5)
    assert [lane.name for lane in found.lanes] == ["w-1"]
    page = moments.page(found)
    assert (checked(page).wrong, checked(page).open) == ([], [])
    assert page.count('class="mark"') == 5
    assert "0.1001 s to 0.1045 s of the run, 5 items" in page
    assert 'data-begin="0.100100"' in page


def test_earlier_attempts_of_that_moment_are_there_and_those_of_others_are_not() -> None:
    early = ItemRow("m", 3, 1, states.AWAITING_RETRY, started=NOW + 1, ended=NOW + 1.5, worker="w-1")
    later = ItemRow("m", 4, 1, states.AWAITING_RETRY, started=NOW + 3, ended=NOW + 3.5, worker="w-1")
    found = gathered(MAP, block(0, 10, "w-1", 1.2), early, later, begin=1.2, end=1.2005)
    assert [mark.text.partition(",")[0] for mark in found.marks] == ["load[0]: Completed", "load[3]: failed"]


def test_items_that_ran_together_come_one_by_one() -> None:
    together = ItemBlock(
        "m", 0, 4, None, NOW, array("i", [0, 5_000, 1_000, 9_000]), array("i", [10_000, 100, 9_000, 100]), 1, "w-1"
    )
    parts = list(moments.within(together, NOW + 0.006, NOW + 0.008))
    assert [(part.first, part.count) for part in parts] == [(0, 1), (2, 1)]
    assert list(moments.within(together, NOW + 0.2, NOW + 0.3)) == []


def test_a_moment_of_too_many_items_says_so() -> None:
    rows = [block(n * 10_000, 10_000, f"w-{n}", 0.0) for n in range(3)]
    found = gathered(MapRow("m", "run-1", "load", "map", 30_000, NOW), *rows, begin=0, end=10)
    assert found.items == 30_000
    assert len(found.marks) == moments.MARKS
    page = moments.page(found)
    assert "30,000 items ran in this moment, 5,000 are drawn: choose a shorter one." in page
    assert len(page) < 2_000_000


def test_a_moment_in_which_nothing_ran() -> None:
    assert "Nothing ran then." in moments.page(gathered(MAP, block(0, 10, "w-1", 0.0), begin=7, end=8))


@pytest.mark.parametrize(
    ("seconds", "step", "told"),
    [(3.2134, 2e-5, "3.21340 s"), (0.0002, 1e-4, "200 µs"), (7, 1, "7 s"), (3.2, 0.05, "3.20 s")],
)
def test_times_of_a_moment_have_as_many_digits_as_they_need(seconds: float, step: float, told: str) -> None:
    assert _time(seconds, step) == told
