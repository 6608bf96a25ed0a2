"""`anabranch pod`, as a pod calls it: what came with it is run, in a record of its own or in one that is shared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.job_file import OWN, JobFile
from anabranch.core.pod_job import REPLACED, Parcel, end_of
from anabranch.core.runs import JOB, FlowRunRow
from anabranch.records.sqlite import SqliteRecords

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.sampled(3, "programs as in a pod")
REPOSITORY = Path(__file__).resolve().parents[2]
ID = "01a22cd9-2ed5-7b28-b151-3fe411e6e02d"
FLOW = """
from anabranch import flow

@flow(log_prints=True)
def survey(n: int):
    print("n is", n)
    if n < 0:
        raise ValueError("no good")
"""
PARCEL = Parcel(
    JobFile(ID, "brisk-otter", "survey", "", "kubernetes", "survey-1", record=OWN), ("n=5",), "survey.py:survey",
    {"survey.py": FLOW},
    None, "thread", "Python 3.99.1, anabranch 9",
)  # fmt: skip


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Call `anabranch pod` as the pod with this uid would, where nothing but its variables is known."""

    def called(parcel: Parcel, uid: str = "one", **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path), **variables}
        environ |= {"ANABRANCH_POD_UID": uid, "ANABRANCH_POD_NAME": f"pod-{uid}", "ANABRANCH_POD_NODE": "node-1"}
        environ["ANABRANCH_POD_JOB"] = parcel.packed()
        argv = [sys.executable, "-P", "-m", "anabranch", "pod"]
        return subprocess.run(argv, capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=50)

    return called


def test_a_run_of_a_record_of_its_own_tells_its_end_in_the_last_line(call: Call) -> None:
    done = call(PARCEL)
    assert done.returncode == 0, done.stderr
    assert "anabranch: pod pod-one on node node-1" in done.stderr
    assert "submitted with Python 3.99.1, anabranch 9" in done.stderr
    assert "Flow run 'brisk-otter' - n is 5" in done.stdout + done.stderr
    assert end_of(done.stdout.splitlines()) == (states.COMPLETED, "Completed", "")


def test_a_flow_that_fails_exits_with_1_and_tells_its_reason(call: Call) -> None:
    done = call(PARCEL._replace(words=("n=-1",)))
    assert done.returncode == 1
    state, name, message = end_of(done.stdout.splitlines()) or (0, "", "")
    assert (state, name) == (states.FAILED, "Failed")
    assert "ValueError: no good" in message


@pytest.mark.parametrize(
    ("parcel", "message"),
    [
        (PARCEL._replace(files={}, place="/no/such.py:survey"), "no file '/no/such.py'"),
        (PARCEL._replace(files={}, place="no_such_module:survey"), "no_such_module"),
        (PARCEL._replace(files={"survey.py": "import no_such_package\n" + FLOW}), "no_such_package"),
        (PARCEL._replace(file=JobFile(ID, "o", "survey", "", "kubernetes", "j")), "has no run 01a22cd9-2ed5"),
    ],
)
def test_what_is_not_in_the_image_is_told_and_begins_no_run(call: Call, parcel: Parcel, message: str) -> None:
    done = call(parcel)
    assert done.returncode != 0
    assert message in done.stderr.lower()
    assert end_of(done.stdout.splitlines()) is None


def test_of_two_pods_with_one_record_the_second_does_not_run(call: Call, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with SqliteRecords(home / "records.db") as records:
        records.append([
            FlowRunRow(ID, "survey", "brisk-otter", states.SCHEDULED, "Scheduled", created=1e9, resumable=True,
                       host=f"{JOB}survey-1"),
        ])  # fmt: skip
    parcel = PARCEL._replace(file=JobFile(ID, "brisk-otter", "survey", "", "kubernetes", "survey-1"))
    assert call(parcel, ANABRANCH_HOME=str(home)).returncode == 0
    second = call(parcel, "two", ANABRANCH_HOME=str(home))
    assert second.returncode == REPLACED
    assert "was begun by another pod of its Job" in second.stderr
    assert "n is 5" not in second.stdout + second.stderr
