"""Starts under a rate that fell due while nobody looked."""

from __future__ import annotations

import pytest

from anabranch.limits.rates import take_due


@pytest.mark.parametrize(
    ("times", "now", "given", "left"),
    [
        ([], 10.0, 0, []),
        ([10.1, 10.2], 10.0, 0, [10.1, 10.2]),
        ([10.0, 10.05], 10.0, 1, [10.05]),
        ([10.0, 10.01, 10.02], 10.03, 3, []),  # all of them only a little late
        ([9.8, 9.85, 9.9, 9.99, 10.1], 10.0, 1, [10.1]),
        ([9.0, 9.05], 10.0, 1, []),  # a program that is always late gets on
    ],
)
def test_late_starts_are_lost_but_for_the_last(times: list[float], now: float, given: int, left: list[float]) -> None:
    assert take_due(times, now) == given
    assert times == left
