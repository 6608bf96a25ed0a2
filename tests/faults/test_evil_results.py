"""A result that kills whoever unpickles it (fault test 12): the driver's loss; who reads the record does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(2, "each loses a program")
CLI = "from anabranch.cli import main; main()"
SCRIPT = """
import os, sys
from anabranch import flow, task, ProcessRunner

class Evil:
    def __reduce__(self):
        return os._exit, (9,)

@task(persist_result=True)
def make(x):
    return Evil() if x == 3 else x

@flow(runner=ProcessRunner(max_workers=1))
def main():
    made = make.map(range(5))
    made.wait()
    from anabranch import session
    session.current().flush_records()
    print("made", flush=True)
    made[3].result()
    print("survived", flush=True)

main()
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ, "ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path),
        "ANABRANCH_PROGRESS": "0",
    }  # fmt: skip


def test_the_driver_alone_is_lost(environ: dict[str, str]) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args], env=environ, capture_output=True, text=True, timeout=50, check=False
        )

    done = run("-c", SCRIPT)
    assert done.stdout == "made\n", done.stderr
    assert done.returncode == 9, "the test would prove nothing"
    listed = run("-c", CLI, "runs", "--json")
    assert listed.returncode == 0, listed.stderr
    [row] = json.loads(listed.stdout)["runs"]
    assert row["state"] == "Crashed", "its driver is gone, and whoever looks next says so"
    for command in (("run", "show", row["name"]), ("run", "show", row["name"], "--json"), ("run", "logs", row["name"])):
        shown = run("-c", CLI, *command)
        assert shown.returncode == 0, shown.stderr
    details = json.loads(run("-c", CLI, "run", "show", row["name"], "--json").stdout)
    assert details["maps"][0]["counts"] == {"Completed": 5}


def test_a_worker_that_reads_it_is_blamed_and_the_driver_lives(environ: dict[str, str]) -> None:
    """Handed on to a task it kills that task's worker: its reader is poison, the others complete."""
    script = SCRIPT.partition("@flow")[0] + """
@task
def read(x):
    return 1

@flow(runner=ProcessRunner(max_workers=1))
def main():
    made = make.map(range(5))
    found = read.map(made)
    made.wait(), found.wait()
    print([s.name for s in found.states], flush=True)

main(return_state=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout.replace("'", '"'))
    assert len(names) == 5
    assert set(names) <= {"Completed", "Crashed", "Failed"}
