"""Objects of a script's own classes are of these classes wherever they come back from, in the next start too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.sessions import over

SCRIPT = Path(__file__).with_name("script.py")
ROOT = Path(__file__).parents[2]

TURN = pytest.mark.sampled(3, "two starts of Python; tests/acceptance/test_own_script.py has one script on each")
NIGHT = pytest.mark.nightly("two starts of an engine; tests/acceptance/test_own_script.py has one script on each")


RUNNERS = [*over("inline", "thread", "process", marks=[TURN]), *over("dask", "ray", marks=[NIGHT])]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.timeout(180)
def test_own_classes(runner: str, tmp_path: Path) -> None:
    home = {"ANABRANCH_HOME": str(tmp_path), "ANABRANCH_PROGRESS": "false", "PYTHONPATH": str(ROOT)}
    for start in ("first", "second"):
        ended = subprocess.run(
            [sys.executable, str(SCRIPT), runner], env={**os.environ, **home}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert ended.stdout.split("\n")[:-1] == ["RIGHT"], (start, ended.stdout, ended.stderr[-2000:])
