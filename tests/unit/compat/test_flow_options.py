"""Prefect's flows take the options of the engine that Prefect's flows do not have: commands give them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from anabranch.compat.prefect.flows import flow

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import anabranch.compat.prefect
from prefect import flow, task

@task
def square(x):
    return x * x

@flow(log_prints=True)
def squares(n: int = 3):
    print("sum", sum(square.map(range(n)).result()))
"""


def test_options_of_the_engine_stay_with_those_of_prefect() -> None:
    @flow
    def one() -> None: ...

    made = one.with_options(resumable=True).with_options(runner="inline").with_options(retries=2)
    assert (made.options.resumable, made.options.runner, made.options.retries) == (True, "inline", 2)
    assert one.options.resumable is None
    with pytest.raises(TypeError, match="unexpected keyword argument 'retrys'"):
        one.with_options(retrys=2)


def test_the_command_runs_a_flow_of_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    (tmp_path / "flows.py").write_text(PROGRAM)
    words = ["run", f"{tmp_path}/flows.py:squares", "-p", "n=4", "--runner", "thread"]
    done = subprocess.run([sys.executable, "-m", "anabranch", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "sum 14" in done.stdout + done.stderr
