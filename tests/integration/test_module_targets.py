"""A flow that is named by its module, as by `python -m`: run, submitted, in a pilot, and gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch.cli import cli
from anabranch.core import own_code
from anabranch.records.sqlite import SqliteRecords

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]
MAIN = [sys.executable, "-P", "-m", "anabranch"]  # the working folder is on the path by our own doing
FLOWS = """
import os
from anabranch import flow, task
from .numbers import Length, start

@task
def longer(x):
    return Length(x.metres + start)

@flow(runner="process")
def main(n: int = 3):
    print("lengths", [one.metres for one in longer.map([Length(x) for x in range(n)]).results()])

@flow(runner="thread")
def halting(gate: str):
    found = longer.submit(Length(1))
    found.wait()
    if not os.path.exists(gate):
        os._exit(9)
    print("gone on with", found.result().metres)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith(("ANABRANCH_", "SLURM_", "PBS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    pkg = tmp_path / "pkg"
    pkg.mkdir()
    numbers = "import dataclasses\nstart = 10\n\n@dataclasses.dataclass\nclass Length:\n    metres: int\n"
    texts = {"__init__": "", "flows": FLOWS, "numbers": numbers, "broken": "import json\njson.loads('{')\n",
             "lacking": "import absent_library\n"}  # fmt: skip
    for name, text in texts.items():
        (pkg / f"{name}.py").write_text(text)
    for name in ("pkg.both", "pkg.text", "flows.py"):
        (tmp_path / name).touch()
    (pkg / "both.py").touch()
    return tmp_path / "home"


def run(*args: str, code: int = 0, **options: Any) -> str:
    words: list[str] = [*MAIN, *args]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


def test_a_flow_is_run_submitted_and_begun_in_a_pilot_by_its_module(home: Path) -> None:
    assert "lengths [10, 11, 12]" in run("run", "pkg.flows:main")
    assert "lengths [10, 11]" in run("pilot", "pkg.flows:main", "-p", "n=2", "--runner", "thread")
    run("submit", "process", "pkg.flows:main", "-p", "n=1", "--name", "as-a-job", "--wait")
    (log,) = (home / "jobs").glob("as-a-job-*/log")
    assert "lengths [10]" in log.read_text()


def test_a_run_of_a_module_is_gone_on_with_from_any_folder(home: Path, tmp_path: Path) -> None:
    """Read as a file alone, the module would not find its package."""
    gate = tmp_path / "gate"
    run("run", "pkg.flows:halting", "-p", f"gate={gate}", code=9)
    with SqliteRecords(home / "records.db") as records:
        (row,) = records.flow_runs()
    assert row.entry == f"{tmp_path}/pkg.flows:halting"
    gate.touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "gone on with 11" in run("resume", row.name, cwd=elsewhere)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What is said of a target that cannot be run."""

    def call(target: str) -> str:
        monkeypatch.setattr(sys, "path", [*sys.path])
        try:
            found = CliRunner().invoke(cli, ["run", target])
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "pkg"]:
                del sys.modules[name]
            own_code.roles.stand_in = None
        assert found.exit_code in (1, 2), found.output
        return str(found.output)

    return call


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("pkg.flow", "there is no module 'pkg.flow', and no file of this name"),
        ("pkg.flows.main", "there is no module 'pkg.flows.main', and no file"),
        ("absent.flows:main", "there is no module 'absent.flows', and no file of this name"),
        ("pkg.numbers", "there is no flow in 'pkg.numbers': a flow is a function under @flow"),
        ("pkg", "there is no flow in 'pkg'"),
        ("pkg.numbers:Length", "'Length' in 'pkg.numbers' is not a flow but a type"),
        ("pkg.flows:mian", "there is no flow 'mian' in 'pkg.flows'; did you mean 'main'?"),
        ("pkg.flows", "'pkg.flows' holds several flows; say which one:\n  pkg.flows:main\n  pkg.flows:halting"),
        ("pkg.both", "'pkg.both' is both a file and a module: rename the file"),
        ("pkg.text", "'pkg.text' is not a Python file"),
        ("flos", "no file of this name; did you mean 'flows.py'?"),
        ("pkg.lacking", "'pkg.lacking' could not be loaded"),
        ("pkg.lacking", "No module named 'absent_library'"),
        ("pkg.broken", "JSONDecodeError"),
    ],
)
def test_what_cannot_be_run_is_named(target: str, message: str, refused: Callable[[str], str]) -> None:
    text = refused(target)
    assert message in text
    assert "importlib" not in text
