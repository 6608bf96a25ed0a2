"""The course in notebooks/ runs as it stands, in real kernels, and its notebooks show what their text says."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.acceptance.kernels import LOGGED

if TYPE_CHECKING:
    from collections.abc import Callable

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
COURSE = (
    "1_first_steps", "2_runners", "3_a_million", "4_model_search", "5_hpc", "6_debugging", "7_numbers", "8_measure",
)  # fmt: skip
IN_TURN = {"6_debugging", "7_numbers"}
WHY = "engines are started, minutes of computing"
turn = pytest.mark.sampled(2, "a kernel for each notebook")
KERNEL = "anabranch-test"
LARGEST = 200_000  # bytes of a notebook with its outputs
PATHS = re.compile(r"(?<![~\w.])/(?:home|root|tmp|work|Users|private|opt|usr|var|mnt|builds)/")

# Jupyter's own deprecations are not ours.
pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("default")]


def executed_in(home: Path, name: str) -> Any:
    """A notebook after a run in a fresh kernel of this very Python, with a home and a working folder of its own."""
    spec = home / "kernels" / KERNEL
    spec.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": start, "display_name": KERNEL, "language": "python"}))
    work = home / "work"
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home))
        patch.setenv("ANABRANCH_HOME", str(home / "anabranch"))
        patch.setenv("IPYTHONDIR", str(home / "ipython"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Where the `anabranch` command of this Python is.
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []  # what is found below is new
        client = NotebookClient(notebook, timeout=300, kernel_name=KERNEL, resources={"metadata": {"path": str(work)}})
        return client.execute()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Execute a notebook, once in this module."""
    return functools.cache(lambda name: executed_in(tmp_path_factory.mktemp("home"), name))


@pytest.fixture(scope="module")
def executed(run: Callable[[str], Any]) -> Any:
    return run("1_first_steps")


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed_in(text: str) -> str:
    """A cell's text without what anabranch logs."""
    return "".join(line for line in text.splitlines(keepends=True) if not LOGGED.match(line))


def kinds(notebook: Any) -> list[set[str]]:
    """The mime types of each code cell's value, and whether it prints; bars and log lines depend on time."""
    found = []
    for cell in (c for c in notebook.cells if c.cell_type == "code"):
        values = [o.data for o in cell.outputs if o.output_type == "execute_result"]
        printed = any(o.get("name") == "stdout" and printed_in(o.text).strip() for o in cell.outputs)
        found.append({kind for data in values for kind in data} | ({"stdout"} if printed else set()))
    return found


def test_the_course_is_all_that_is_there() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.iterdir()) == sorted(COURSE)


@pytest.mark.parametrize("name", COURSE)
def test_committed_outputs_are_there_and_light_and_of_no_machine(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size <= LARGEST
    assert len(outputs(notebook)) >= 5
    assert [o for o in outputs(notebook) if o.output_type == "error"] == []
    text = json.dumps([o for o in outputs(notebook) if "image/png" not in o.get("data", {})])
    assert PATHS.findall(text) == []
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert [cell.metadata for cell in notebook.cells if cell.metadata] == []  # times of execution


@pytest.mark.parametrize(
    "name",
    [
        n if n == "1_first_steps" else pytest.param(n, marks=turn if n in IN_TURN else pytest.mark.nightly(WHY))
        for n in COURSE
    ],
)
def test_a_notebook_runs_and_shows_the_kinds_of_output_that_are_committed(
    run: Callable[[str], Any], name: str
) -> None:
    notebook = run(name)
    assert [o for o in outputs(notebook) if o.output_type == "error"] == []
    assert kinds(notebook) == kinds(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))


def said(notebook: Any) -> str:
    """All that a notebook prints on its standard output."""
    return "".join(o.text for o in outputs(notebook) if o.get("name") == "stdout")


@turn
def test_debugging_finds_both_kinds_of_failure_and_mends_them(run: Callable[[str], Any]) -> None:
    shown = said(run("6_debugging"))
    assert "clean[17] TriggerFailed [upstream]" in shown
    assert "(Pdb) row = 17" in shown
    assert "Finished in state Completed()" in shown


@turn
def test_numbers_are_those_of_their_seed(run: Callable[[str], Any]) -> None:
    stored = nbformat.read(NOTEBOOKS / "7_numbers.ipynb", as_version=4)
    found = re.findall(r"r=\d+, mean=[\d.]+", said(run("7_numbers")))
    assert len(found) == 2
    assert found == re.findall(r"r=\d+, mean=[\d.]+", said(stored))


def cell(notebook: Any, part: str) -> Any:
    """The one code cell that holds `part`."""
    found = [c for c in notebook.cells if c.cell_type == "code" and part in c.source]
    assert len(found) == 1, part
    return found[0]


def text(notebook: Any, part: str) -> str:
    """What the cell prints and its value, as text; log lines and bars (on stderr) are left out."""
    outputs = [o for o in cell(notebook, part).outputs if o.get("name") != "stderr"]
    return "\n".join(
        printed_in(o["text"]) if "text" in o else o.get("data", {}).get("text/plain", "") for o in outputs
    ).strip()


def bars(notebook: Any, part: str) -> str:
    """What the cell shows on stderr or as widgets."""
    outputs = cell(notebook, part).outputs
    return "".join(o.text for o in outputs if o.get("name") == "stderr") + html(notebook, part) + text(notebook, part)


def html(notebook: Any, part: str) -> str:
    return "".join(o.get("data", {}).get("text/html", "") for o in cell(notebook, part).outputs)


def test_call_and_submit(executed: Any) -> None:
    assert text(executed, "double(21)  #") == "42"
    assert "COMPLETED" in text(executed, "future.wait()")
    assert text(executed, "future.result()") == "42"


def test_map_and_wait(executed: Any) -> None:
    assert "{'Completed': 10000}" in text(executed, "numbers.counts")
    assert text(executed, "numbers.results()") == str(sum(2 * x for x in range(10_000)))
    shown = text(executed, "lambda x: x * x")
    assert "3 done, 0 not" in shown
    assert "[1, 4, 9]" in shown


def test_a_list_shows_itself_as_html(executed: Any) -> None:
    found = [c for c in executed.cells if c.source == "squares"]
    shown = found[0].outputs[0]["data"]["text/html"]
    assert 'alt="3 completed"' in shown
    assert "map of 3 items" in shown


def test_failures_are_states(executed: Any) -> None:
    shown = text(executed, "def invert")
    assert "'Completed': 3" in shown
    assert "failed: [2]" in shown
    assert "ZeroDivisionError" in shown


def test_await_under_the_running_loop(executed: Any) -> None:
    shown = text(executed, "await double.submit(5)")
    assert "loop running: True" in shown
    assert shown.endswith("10")
    assert text(executed, "asyncio.gather") == "[0, 2, 4, 6, 8]"


def test_progress_shows_a_bar_in_its_cell(executed: Any) -> None:
    shown = bars(executed, "def nap")
    assert "nap" in shown
    assert "300" in shown  # under way, or of it all: the last message may come when the cell has ended
    assert text(executed, "def nap").endswith("(300, 300)")  # a widget, where there is one, comes first


def test_the_stop_button_interrupts_and_the_session_lives_on(executed: Any) -> None:
    shown = text(executed, "signal.SIGINT")
    assert "stopped" in shown
    assert " cancelled<" in html(executed, "long.wait()\nlong")
    assert text(executed, "double.submit(4)") == "8"
