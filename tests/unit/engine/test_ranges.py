"""Index ranges against the plain sets that they stand for."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.engine.ranges import as_range, common, in_ranges, remove_from, runs_of

POINTS = st.lists(st.integers(0, 40), max_size=10, unique=True).map(sorted)
RANGES = POINTS.map(lambda points: [(lo, hi, lo % 2 == 0) for lo, hi in list(pairwise(points))[::2]])


def spelt(ranges: object) -> list[tuple[int, bool]]:
    return [(i, exact) for lo, hi, exact in ranges for i in range(lo, hi)]  # type: ignore[attr-defined]


@given(RANGES, st.integers(0, 40), st.integers(0, 40))
def test_what_lies_in_ranges(ranges: list[tuple[int, int, bool]], lo: int, hi: int) -> None:
    assert in_ranges(ranges, lo, hi) == {i for i, _ in spelt(ranges)} & set(range(lo, hi))


@given(RANGES, st.sets(st.integers(0, 40)))
def test_what_is_removed_is_gone_and_the_rest_keeps_its_order(
    ranges: list[tuple[int, int, bool]], gone: set[int]
) -> None:
    left = deque(ranges)
    remove_from(left, gone)
    assert spelt(left) == [(i, exact) for i, exact in spelt(ranges) if i not in gone]
    assert all(lo < hi for lo, hi, _ in left)


@given(st.lists(st.integers(0, 12), max_size=12))
def test_runs_hold_each_item_they_were_made_of(items: list[int]) -> None:
    assert {i for lo, hi in runs_of(items) for i in range(lo, hi)} == set(items)


@pytest.mark.parametrize(
    ("items", "runs"),
    [
        ([], []),
        ([3], [(3, 4)]),
        ([0, 1, 2], [(0, 3)]),
        ([2, 1, 0], [(0, 3)]),
        ([0, 1, 5, 6, 3], [(0, 2), (5, 7), (3, 4)]),
    ],
)
def test_runs_are_as_long_as_they_can_be(items: list[int], runs: list[tuple[int, int]]) -> None:
    assert list(runs_of(items)) == runs


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_a_range_is_made_of_rising_items_alone(items: list[int]) -> None:
    made = as_range(items)
    assert list(made) == items
    assert isinstance(made, range) == all(b == a + 1 for a, b in pairwise(items))


@given(st.lists(st.integers(0, 20), unique=True), st.sets(st.integers(0, 20)), st.booleans())
def test_what_a_table_may_have_is_asked_of_the_smaller_one(items: list[int], keys: set[int], dense: bool) -> None:
    asked = range(len(items)) if dense else items
    found = common(asked, dict.fromkeys(keys))
    assert set(asked) & keys <= set(found) <= set(asked)
    assert len(found) <= max(len(keys), len(asked))
    if len(asked) > len(keys):
        assert set(found) <= keys
