"""A pilot in the job of a submitted run goes on with that run; here without a batch system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from anabranch.core.job_file import JobFile
from anabranch.records import open_records
from tests.integration.pilot.conftest import FLOWS, ROOT, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.timeout(300), pytest.mark.sampled(3, "programs as in a job")]


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start the command; its words go to a file."""
    gone = ("SLURM_", "PBS_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(gone)}
    env |= {"PYTHONPATH": str(ROOT), "ANABRANCH_HOME": str(folder / "home"), "ANABRANCH_PROGRESS": "false"}
    with open(folder / "log", "a") as file:
        command = [sys.executable, "-P", "-m", "anabranch", *words]
        return subprocess.Popen(command, env=env, stdout=file, stderr=file, text=True)


def test_the_run_of_the_jobs_file_goes_on(tmp_path: Path) -> None:
    noted, gate = tmp_path / "noted", tmp_path / "gate"
    noted.mkdir()
    words = [f"folder={noted}", f"gate={gate}", f"out={tmp_path}/out"]
    params = [word for text in words for word in ("-p", text)]
    target = f"{FLOWS}:gated"
    first = started(tmp_path, "pilot", target, *params, "--runner", "process")
    until(lambda: len(list(noted.iterdir())) > 50, lambda _: (tmp_path / "log").read_text(), "")
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 143
    records = open_records(tmp_path / "home" / "records.db")
    [run] = records.flow_runs()
    records.close()
    job = tmp_path / "job"
    job.mkdir()
    JobFile(run.id, run.name, run.flow, target, "process", "job").write(job)
    gate.touch()
    second = started(tmp_path, "pilot", target, *params, "--job", str(job))
    assert second.wait() == 0, (tmp_path / "log").read_text()
    records = open_records(tmp_path / "home" / "records.db")
    assert [(row.id, row.state_name) for row in records.flow_runs()] == [(run.id, "Completed")]
    records.close()
    assert (tmp_path / "out").read_text() == str(sum(range(100)))
    assert all(len((noted / str(x)).read_text().split()) == 1 for x in range(40))


def test_a_folder_of_no_job_is_told(tmp_path: Path) -> None:
    pilot = started(tmp_path, "pilot", f"{FLOWS}:gated", "--job", str(tmp_path / "none"))
    assert pilot.wait() == 1
    assert "there is no job.json in" in (tmp_path / "log").read_text()
