"""The file of a job's folder comes back as it was written, and names what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import LaunchError
from anabranch.core.job_file import JobFile

if TYPE_CHECKING:
    from pathlib import Path

FILE = JobFile("0199-ab", "calm-otter", "survey", "/home/u/survey.py:survey", "slurm", "survey-calm-otter-ab")


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    FILE.write(tmp_path)
    assert JobFile.read(tmp_path) == FILE
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_fields_of_a_newer_version_are_left_out(tmp_path: Path) -> None:
    FILE.write(tmp_path)
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert JobFile.read(tmp_path) == FILE


@pytest.mark.parametrize("text", ["{", "[]", '{"run": "a"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(LaunchError, match=rf"{tmp_path}/job.json cannot be read"):
        JobFile.read(tmp_path)


def test_a_folder_of_no_job_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=rf"no job.json in {tmp_path}"):
        JobFile.read(tmp_path)
    with pytest.raises(LaunchError, match="cannot be written: No such file"):
        FILE.write(tmp_path / "none")
