"""The pair of programs in docs/hpc.md, "What you wrote, what you write now": both run, and return the same.

submitit is played by the few lines that the program uses of it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "hpc.md"
SUBMITIT = '''
class Job:
    def __init__(self, fn, args):
        self._call = fn, args
    def result(self):
        fn, args = self._call
        return fn(*args)

class AutoExecutor:
    def __init__(self, folder):
        self.folder = folder
    def update_parameters(self, **parameters):
        assert "timeout_min" in parameters
    def map_array(self, fn, *columns):
        return [Job(fn, args) for args in zip(*columns)]
'''


def programs() -> tuple[str, str]:
    """Return the two programs of the page, the older one first."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## What you wrote, what you write now\n")[2]
    found = re.findall(r"```python[^\n]*\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    assert len(found) == 2
    assert "submitit" in found[0]
    assert "anabranch" in found[1]
    return found[0], found[1]


def said(*command: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    before, after = programs()
    (tmp_path / "submitit.py").write_text(SUBMITIT)
    (tmp_path / "before.py").write_text(before)
    (tmp_path / "scan.py").write_text(after)
    return tmp_path


def test_both_programs_print_the_same(folder: Path) -> None:
    expected = said("before.py", cwd=folder)
    assert expected.startswith("best: ")
    assert said("scan.py", cwd=folder).splitlines()[-1:] == expected.splitlines()


def test_the_flow_runs_in_a_pilot_without_a_change(folder: Path) -> None:
    """A job's script ends in this line; outside of a job it takes this machine."""
    said("-m", "anabranch", "pilot", "scan.py:scan", "-p", "steps=6", "--runner", "process", cwd=folder)
