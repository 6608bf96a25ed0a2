"""A job's time as a person writes it: one reading for all places that take one."""

from __future__ import annotations

import pytest

from anabranch.core.option_checks import parse_walltime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400), ("45s", 45), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1:30:00", 5400),
        ("1-0", 86400), ("1-12:30", 131400), ("2-00:00:30", 172830),
    ],
)  # fmt: skip
def test_what_is_a_time(text: str, seconds: float) -> None:
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0:00:00", "1:30", "30:30", "1:2:3", "1:2:3:4", "x-1", "-5", "soon"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="must be 90"):
        parse_walltime(text)
