"""`anabranch init`: the project it writes runs at once, in each of its ways."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.integration.commands import alone, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(3, "a project is made and run for each")
FILES = ["README.md", "flow.ipynb", "flow.py", "pyproject.toml", "test_flow.py"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    alone(tmp_path, monkeypatch)
    said = run("init", "My Project").stdout
    assert "next: cd My Project && anabranch run flow.py" in said
    folder = tmp_path / "My Project"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    monkeypatch.chdir(folder)
    return folder


def test_its_flow_runs_and_its_test_passes(project: Path) -> None:
    assert "pi is about 3.1" in run("run", "flow.py", "-p", "batches=5").stderr
    assert "pi is about 3.1" in run("run", "flow.py", "-p", "batches=5", "--runner", "process").stderr
    assert [row["flow"] for row in json.loads(run("runs", "--json").stdout)["runs"]] == ["estimate", "estimate"]
    tests = subprocess.run([sys.executable, "-m", "pytest", "-q"], capture_output=True, text=True, timeout=50)
    assert "2 passed" in tests.stdout, tests.stdout + tests.stderr
    made = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert (made["name"], made["dependencies"]) == ("my-project", ["anabranch"])
    plain = subprocess.run([sys.executable, "flow.py"], capture_output=True, text=True, timeout=50)
    assert plain.stdout.startswith("3.1")


def test_its_notebook_runs(project: Path) -> None:
    notebook: Any = nbformat.read(project / "flow.ipynb", as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=50, resources={"metadata": {"path": str(project)}}).execute()
    outputs = [cell.outputs[-1] for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    shown = [output["data"]["text/plain"] for output in outputs if "data" in output]
    assert shown[-1].startswith("3.1")
    assert not any(output.output_type == "error" for cell in notebook.cells for output in cell.get("outputs", ()))


def test_nothing_is_written_over(project: Path) -> None:
    (project / "flow.py").write_text("mine\n")
    (project / "flow.ipynb").unlink()
    said = run("init", ".", code=1).stderr
    assert "flow.py is there already; nothing was written" in said
    assert (project / "flow.py").read_text() == "mine\n"
    assert not (project / "flow.ipynb").exists()
    (project / "file").write_text("")
    assert "file" in run("init", "file", code=2).stderr
