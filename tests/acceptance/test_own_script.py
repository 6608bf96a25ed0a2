"""Values of a script's own classes and functions, at home, in the next start, and in the `__main__` of workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.sessions import over

SCRIPT = Path(__file__).with_name("own_script.py")
ROOT = Path(__file__).resolve().parents[2]
FAR = over("dask", "ray", marks=[pytest.mark.sampled(2, "an engine for each")])


def start(kind: str, folder: Path, expected: str) -> str:
    """What the script says when it is started, from another folder than its own."""
    env = {**os.environ, "ANABRANCH_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "ANABRANCH_PROGRESS": "0"}
    done: Any = subprocess.run(
        [sys.executable, str(SCRIPT), kind, str(folder), expected], env=env, cwd=folder, capture_output=True, text=True,
        timeout=170, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith(("WRONG", "DONE"))]
    return "\n".join(lines) or done.stdout + done.stderr


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", [*over("thread", "process"), *FAR])
def test_values_of_the_scripts_own_classes_are_the_scripts(kind: str, tmp_path: Path) -> None:
    assert start(kind, tmp_path, "Completed") == "DONE"
    if kind in ("process", "dask"):  # the same store, another program
        assert start("thread", tmp_path, "Cached") == "DONE"
        assert start("process", tmp_path, "Cached") == "DONE"


COLOURS = """
import enum
from anabranch import cache_policies, flow, task
class Colour(enum.Enum):
    RED = 1
@task(cache_policy=cache_policies.INPUTS)
def give(n): return Colour.RED
@flow
def main():
    future = give.submit(1)
    print("SAID", future.result() is Colour.RED, future.state.name)
if __name__ == "__main__": main()
"""


@pytest.mark.sampled(2, "a Python for each")
@pytest.mark.parametrize("name", ["colours.py", "my-colours.py"])
def test_the_command_reads_what_the_script_has_stored(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(COLOURS)
    env = {**os.environ, "ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    command = ["-c", "from anabranch.cli import main; main()", "run", name]
    said: list[str] = []
    for words in ([name], command, command):
        done = subprocess.run(
            [sys.executable, *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        said += [line for line in done.stdout.splitlines() if line.startswith("SAID")] or [done.stdout + done.stderr]
    assert said == ["SAID True Completed", "SAID True Cached", "SAID True Cached"]
