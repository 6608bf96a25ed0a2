"""Sizes of chunks, from what reports have told."""

from __future__ import annotations

from anabranch.engine.chunks import MAX_ITEMS, Pace, window


def test_values_of_no_bytes_bound_nothing_however_often_they_are_told() -> None:
    """The average of ever smaller numbers is one that divides into infinity."""
    pace = Pace(0.1)
    pace.learn(1, 1e-5, 400)
    for _ in range(3000):
        pace.learn(MAX_ITEMS, MAX_ITEMS * 1e-6, 0)
        assert 1 <= pace.size(1 << 30, 2) <= MAX_ITEMS
        assert window(2, pace) >= 4


def test_large_values_make_small_chunks() -> None:
    pace = Pace(0.1)
    pace.learn(1, 1e-6, 128 << 10)
    assert pace.size(1 << 30, 2) == 32
    pace.learn(1, 1e-6, 1 << 20)
    assert pace.size(1 << 30, 2) == 1
