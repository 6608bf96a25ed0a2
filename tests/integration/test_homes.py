"""A home that nothing can be kept in is said to be that, with the way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anabranch import session, settings, task
from anabranch.core.errors import AnabranchError

WAY_OUT = "set ANABRANCH_HOME to a folder that you can write to"


@pytest.fixture(params=["missing", "a file", "below a file", "read-only"])
def bad_home(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    file = tmp_path / "file"
    file.touch()
    found = {"missing": Path("/proc/no/home"), "a file": file, "below a file": file / "home"}.get(request.param)
    if found is None:  # also for root, who may write to folders that say no
        found = Path("/sys/kernel/home")
    return found


def test_a_run_names_the_home_that_cannot_be_used(bad_home: Path) -> None:
    with pytest.raises(AnabranchError, match=WAY_OUT) as error:
        session.Session(settings.load({"ANABRANCH_HOME": str(bad_home)}, progress=False))
    assert str(bad_home) in str(error.value)


def test_so_does_a_task_that_keeps_its_results_there(tmp_path: Path) -> None:
    here = {"ANABRANCH_HOME": "/proc/no/home", "ANABRANCH_RECORDS": str(tmp_path / "records.db")}
    before = session.use(session.Session(settings.load(here, progress=False, runner="thread")))
    try:
        kept = task(persist_result=True)(abs)
        with pytest.raises(AnabranchError, match=WAY_OUT):
            kept.submit(-1).result()
    finally:
        made = session.use(before)
        assert made is not None
        made.close()


def test_a_record_elsewhere_needs_no_home(tmp_path: Path) -> None:
    here = {"ANABRANCH_HOME": "/proc/no/home", "ANABRANCH_RECORDS": str(tmp_path / "records.db")}
    session.Session(settings.load(here, progress=False)).close()


def test_the_command_is_there_by_the_packages_name(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ANABRANCH_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "anabranch"]
    done = subprocess.run([*command, "version"], capture_output=True, text=True, timeout=60, env=environ)
    assert (done.returncode, done.stdout.split()[0]) == (0, "anabranch")
    done = subprocess.run([*command, "nothing"], capture_output=True, text=True, timeout=60, env=environ)
    assert done.returncode == 2
    assert "Usage: anabranch" in done.stderr
