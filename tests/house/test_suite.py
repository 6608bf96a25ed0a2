"""The suite by day and by night: what a day leaves out another day runs, and the tables name files that are there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.acceptance.far import SAMPLE, WIRE
from tests.engines import BORROWERS
from tests.nightly import left_out

TESTS = Path(__file__).resolve().parents[1]


def case(n: int, one_in: int | None, file: str = "test_a.py") -> Any:
    mark = None if one_in is None else pytest.mark.sampled(one_in, "why").mark
    return SimpleNamespace(name=n, path=Path(file), get_closest_marker=lambda name: mark)


@pytest.mark.parametrize("one_in", [1, 2, 7])
def test_each_case_of_a_sampled_test_runs_on_one_day_of_so_many(one_in: int) -> None:
    cases = [case(n, one_in) for n in range(20)]
    days = [{one.name for one in cases if one not in left_out(cases, day)} for day in range(700, 700 + one_in)]
    assert sorted(name for day in days for name in day) == list(range(20))
    assert max(map(len, days)) - min(map(len, days)) <= 1


def test_cases_that_are_not_sampled_run_each_day_and_files_have_their_own_days() -> None:
    always = [case(n, None) for n in range(5)]
    cases = [*always, case(5, 2), case(6, 2, "test_b.py"), case(7, 2)]
    assert [one.name for one in left_out(cases, 0)] == [7]
    assert [one.name for one in left_out(cases, 1)] == [5, 6]


def test_both_engines_have_some_of_each_sample() -> None:
    """Cases on Dask and Ray take turns: an even number would give a day to one of them."""
    assert SAMPLE % 2 == 1


def test_the_tables_name_what_is_there() -> None:
    assert [name for name in WIRE if not (TESTS / "acceptance" / f"{name}.py").exists()] == []
    assert [name for name in BORROWERS if not (TESTS / name).is_dir()] == []
