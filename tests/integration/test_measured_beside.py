"""The program of docs/howto/measure.md that runs a script with Prefect and with anabranch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sampled(3, "programs are measured")
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "measure.md"
SCRIPT = """
import sys
from prefect import flow, task

@task
def inc(x):
    return x + 1

@flow
def sums():
    return sum(f.result() for f in inc.map(range(3)))

if __name__ == "__main__":
    with open("ran", "a") as file:
        file.write(f"{flow.__module__.partition('.')[0]} {sums()} {sys.argv[1:]}\\n")
"""
PREFECT = """
class Value:
    def __init__(self, value):
        self.result = lambda: value

def task(function):
    function.map = lambda xs: [Value(function(x)) for x in xs]
    return function

def flow(function):
    return function

flow.__module__ = "prefect"
"""


def test_a_script_runs_in_turn_on_both_sides_and_the_ratio_is_told(tmp_path: Path) -> None:
    found = re.search(r'```python title="beside.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    (tmp_path / "beside.py").write_text(found[1])
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "prefect.py").write_text(PREFECT)  # stands for the package
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "beside.py", "script.py", "7"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "TIMES": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").read_text().splitlines() == 2 * ["prefect 6 ['7']", "anabranch 6 ['7']"]
    ours, theirs, ratio = (line.split() for line in done.stdout.splitlines())
    assert (ours[0], theirs[0], ratio[0], ratio[2]) == ("Prefect", "anabranch", "ratio", "times")
    assert float(ratio[1]) > 0
