"""What travels to a pod comes out as it went in, or says why it cannot travel."""

from __future__ import annotations

import base64
import os
import zlib

import pytest

from anabranch.core import states
from anabranch.core.errors import LaunchError
from anabranch.core.incarnations import Incarnation
from anabranch.core.job_file import JobFile
from anabranch.core.pod_job import VARIABLE, Parcel, end_of, ended_line, parts_of, taken_from, unpacked

FILE = JobFile("id", "brisk-otter", "survey", "/home/me/survey.py", "kubernetes", "survey-1", asked={"walltime": 60.0})
PARCEL = Parcel(
    FILE, ("n=5", 'text={"a": "$HOME"}'), "survey.py:survey", {"survey.py": "x = 'ä'\n" * 50}, None, "thread",
    "Python 3.11.7", once=True,
)  # fmt: skip


def test_a_parcel_is_one_line_that_no_shell_and_no_server_changes() -> None:
    text = PARCEL.packed()
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert unpacked(text) == PARCEL


def test_files_of_a_megabyte_travel_and_more_says_which_are_large_and_what_to_do() -> None:
    code = "".join(f"def step_{n}(x):\n    return x + {n}\n\n" for n in range(90_000))
    assert len(code) > 3_000_000
    files = {"survey.py": code, "rivers/gauges.py": os.urandom(100_000).hex()}
    assert unpacked(PARCEL._replace(files=files).packed()).files == files
    large = PARCEL._replace(files={**files, "rivers/data.py": os.urandom(800_000).hex()})
    with pytest.raises(LaunchError, match=r"at most 1,000,000 can travel \(the largest files: survey.py, rivers/data"):
        large.packed()


def test_a_line_that_no_variable_holds_comes_in_parts_and_none_of_them_stays() -> None:
    text = PARCEL._replace(files={"survey.py": os.urandom(500_000).hex()}).packed()
    parts = parts_of(text)
    assert len(parts) > 5
    assert max(map(len, parts.values())) < 131_072 - len("ANABRANCH_POD_JOB_99=") - 1
    for environ in ({"PATH": "/bin", **dict(reversed(parts.items()))}, {"PATH": "/bin", VARIABLE: text}):
        assert taken_from(environ) == text
        assert environ == {"PATH": "/bin"}


EMPTY = base64.b64encode(zlib.compress(b"{}")).decode()


@pytest.mark.parametrize("text", ["", "no such", base64.b64encode(b"x").decode(), EMPTY])
def test_what_is_no_parcel_is_told(text: str) -> None:
    with pytest.raises(LaunchError, match="ANABRANCH_POD_JOB holds no job"):
        unpacked(text)


def test_a_parcel_of_another_format_names_the_other_version() -> None:
    text = base64.b64encode(zlib.compress(b'{"format": 99, "versions": "anabranch 9"}')).decode()
    with pytest.raises(LaunchError, match=r"another anabranch \(anabranch 9\): give the image the same version"):
        unpacked(text)


def test_the_last_line_tells_the_end() -> None:
    line = ended_line(states.FAILED, "Failed", "no good\nat all")
    assert "\n" not in line
    assert end_of(["a", line, "what a library printed at exit"]) == (states.FAILED, "Failed", "no good\nat all")
    later = ended_line(states.COMPLETED, "Completed", "")
    assert end_of([line, later]) == (states.COMPLETED, "Completed", "")
    assert end_of([]) is None
    assert end_of(["anabranch: the run has ended: {cut"]) is None
    assert end_of(['anabranch: the run has ended: {"state": 999, "name": "", "message": ""}']) is None


def test_a_pod_is_an_incarnation_that_supersedes_no_other_pod() -> None:
    first, second = (Incarnation.of({"ANABRANCH_POD_UID": uid}) for uid in ("a", "b"))
    assert str(first) == "kubernetes:a.0"
    assert Incarnation.parse(str(first)) == first
    assert not first.supersedes(second)
    assert not second.supersedes(first)
    assert Incarnation.of({"ANABRANCH_POD_UID": "a", "SLURM_JOB_ID": "1"}).job == "slurm:1"
