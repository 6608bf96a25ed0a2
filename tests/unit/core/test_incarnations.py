"""Starts of a job: told apart by the job's id and a count."""

from __future__ import annotations

import pytest

from anabranch.core.incarnations import Incarnation


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"SLURM_JOB_ID": "123", "SLURM_RESTART_COUNT": "2"}, "slurm:123.2"),
        ({"SLURM_JOB_ID": "123"}, "slurm:123.0"),  # the first start has no count
        ({"SLURM_JOB_ID": "123", "SLURM_RESTART_COUNT": ""}, "slurm:123.0"),
        ({}, ""),
    ],
)
def test_what_slurm_says(environ: dict[str, str], text: str) -> None:
    found = Incarnation.of(environ)
    assert str(found) == text
    assert Incarnation.parse(text) == found


def test_a_later_start_of_the_same_job_supersedes() -> None:
    earlier, later = Incarnation("slurm:1", 1), Incarnation("slurm:1", 2)
    assert later.supersedes(earlier)
    assert not earlier.supersedes(later)
    assert not later.supersedes(later)
    assert not Incarnation("slurm:2", 3).supersedes(earlier)
    assert not Incarnation("", 3).supersedes(Incarnation()), "outside of jobs nothing is known"
