"""The flow in the pod: a file that travelled is written, with or without the flow's name behind it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from anabranch.cli.pod import brought, tell_end
from anabranch.core import states
from anabranch.core.job_file import JobFile
from anabranch.core.pod_job import Parcel, end_of
from anabranch.core.runs import FlowRunRow

FILE = JobFile("id", "name", "survey", "survey.py", "kubernetes", "job")


@pytest.mark.parametrize(("place", "flow"), [("survey.py", ""), ("survey.py:survey", ":survey")])
def test_a_file_that_travelled_is_written(place: str, flow: str) -> None:
    target = brought(Parcel(FILE, (), place, {"survey.py": "x = 1\n", "rivers/gauges.py": "y = 2\n"}))
    path = Path(target.removesuffix(flow))
    assert target.endswith(f"/survey.py{flow}")
    assert path.read_text() == "x = 1\n"
    assert (path.parent / "rivers" / "gauges.py").read_text() == "y = 2\n"
    shutil.rmtree(path.parent)


def test_the_code_of_a_storage_is_fetched_into_the_pods_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "survey.py").write_text("x = 1\n")
    target = brought(Parcel(FILE, (), "survey.py:survey", storage={"url": f"file://{tmp_path}/code"}))
    assert target.endswith("/survey.py:survey")
    assert Path(target.removesuffix(":survey")).read_text() == "x = 1\n"
    assert target.startswith(str(tmp_path / "home"))


def test_what_is_in_the_image_stays_where_it_is() -> None:
    assert brought(Parcel(FILE, (), "/opt/survey.py:survey")) == "/opt/survey.py:survey"


def test_the_end_is_told_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    print("99 %", end="")
    tell_end(FlowRunRow("id", "survey", "brisk-otter", states.FAILED, "", message="no good"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "99 %"
    assert end_of(lines) == (states.FAILED, "Failed", "no good")
