"""Numbers as people read them."""

from __future__ import annotations

import pytest

from anabranch.display import units


@pytest.mark.parametrize(
    ("given", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_400_000, "12.4 MB"), (999_600, "1.0 MB"), (5e14, "500.0 TB")],
)
def test_size(given: float, text: str) -> None:
    assert units.size(given) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [(0.314, "0.31 s"), (12.36, "12.4 s"), (59.96, "1:00"), (187, "3:07"), (7509, "2:05:09"), (-1, "0.00 s"),
     (4 * 86400 + 7500, "4 d 02:05")],
)  # fmt: skip
def test_duration(given: float, text: str) -> None:
    assert units.duration(given) == text


@pytest.mark.parametrize(("given", "text"), [(81_234, "81,234/s"), (3.21, "3.2/s"), (0.1, "6.0/min"), (0, "-/s")])
def test_rate(given: float, text: str) -> None:
    assert units.rate(given) == text
