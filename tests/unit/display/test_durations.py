"""Bins, quantiles and the slowest of any number of durations."""

from __future__ import annotations

from array import array

import pytest

from anabranch.core import states
from anabranch.core.runs import ItemBlock
from anabranch.display import strips
from anabranch.display.durations import BINS, QUANTILES, SLOWEST, durations_of


def block(durations: list[int], codes: bytes | None = None, *, first: int = 0) -> ItemBlock:
    return ItemBlock("m", first, len(durations), codes, 0.0, array("q", [0] * len(durations)), array("q", durations))


def test_bins_have_every_attempt_once_by_its_kind() -> None:
    codes = bytes([states.COMPLETED, states.FAILED] * 500)
    found = durations_of([block(list(range(1, 1001)), codes), block([7] * 10)])
    assert {spread.kind: spread.count for spread in found.spreads} == {strips.DONE: 510, strips.BROKEN: 500}
    assert [sum(spread.heights) for spread in found.spreads] == [510, 500]
    assert all(len(spread.heights) == BINS for spread in found.spreads)


def test_quantiles_are_those_of_the_numbers() -> None:
    found = durations_of([block(list(range(1000, 2001)))])
    assert found.spreads[0].quantiles == pytest.approx([(1000 + int(q * 1000)) / 1e6 for q in QUANTILES])


def test_the_slowest_are_found_across_blocks() -> None:
    blocks = [block([5] * 100, first=0), block([5, 900, *[5] * 98], first=100), block(list(range(200, 300)), first=200)]
    found = durations_of(blocks)
    assert found.slowest[0] == (900 / 1e6, 101, "")
    assert [index for _, index, _ in found.slowest[1:4]] == [299, 298, 297]
    assert len(found.slowest) == SLOWEST


def test_durations_of_nothing_and_of_no_time_at_all() -> None:
    assert durations_of([ItemBlock("m", 0, 9)]).spreads == []
    found = durations_of([block([0, 0, 0])])
    assert found.spreads[0].heights[0] == 3
    assert found.low < found.high


def test_long_items_do_not_overflow() -> None:
    day = 24 * 3600 * 1_000_000
    found = durations_of([block([day, 1])])
    assert found.spreads[0].quantiles[-1] == pytest.approx(24 * 3600)
    assert (found.spreads[0].heights[0], found.spreads[0].heights[-1]) == (1, 1)
