"""What the driver tells of its pilots, and what one of these says of a first job that has ended."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.cli import pilots
from anabranch.core.job_file import JobFile

if TYPE_CHECKING:
    from pathlib import Path

FILE = JobFile("id", "brisk-otter", "survey", "survey.py", "slurm", "survey-1", pilots=3)


def test_a_log_that_cannot_be_written_does_not_end_the_thread_that_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Any] = []

    def full(*args: object, **given: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(pilots.click, "echo", full)
    records = SimpleNamespace(append=rows.extend)
    monkeypatch.setattr(pilots.sessions, "current", lambda: SimpleNamespace(records=records))
    crew = pilots.Pilots(tmp_path, FILE, again=False)
    crew.hear({"pilot": 1, "job": "9_1", "cpus": 4, "news": "joined", "why": "", "again": False})
    assert [row.message for row in rows] == [
        "pilot 1 (job 9_1) has joined, with 4 processors; 2 of 3 are there"
    ]
