"""`anabranch submit`, interrupted while it hands a job over."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from anabranch.cli import cli

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)
# Ctrl-C, while the request for the job is on its way.
INTERRUPTED = """
import sys
from anabranch.cli import jobs, main

class Interrupted:
    def render(self, job):
        return ""
    def start(self, job):
        raise KeyboardInterrupt("interrupted, and its Job x is deleted")

jobs.launcher = lambda kind, without=(): Interrupted()
main(sys.argv[1:])
"""


def test_what_becomes_of_a_job_at_an_interrupt_is_told_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text("from anabranch import flow\n\n@flow\ndef squares(): pass\n")
    words = ["submit", "process", "flows.py:squares", "--name", "stopped"]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *words], capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert "run stopped was interrupted, and its Job x is deleted\n" in done.stderr
    assert "Traceback" not in done.stderr
    shown = CliRunner().invoke(cli, ["run", "show", "stopped"]).output
    assert "Crashed: no job was started: interrupted, and its Job x is deleted" in shown
