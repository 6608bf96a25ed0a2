"""The notebook runs as it stands, in a real kernel, and shows what its text says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "quickstart.ipynb"
KERNEL = "anabranch-test"

# Jupyter's own deprecations are not ours.
pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The notebook after a run in a kernel of this very Python, with a home of its own."""
    home = tmp_path_factory.mktemp("home")
    spec = home / "kernels" / KERNEL
    spec.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": start, "display_name": KERNEL, "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(kernel))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home))
        patch.setenv("ANABRANCH_HOME", str(home / "anabranch"))
        patch.setenv("IPYTHONDIR", str(home / "ipython"))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        client = NotebookClient(notebook, timeout=120, kernel_name=KERNEL, resources={"metadata": {"path": str(home)}})
        yield client.execute()


def cell(notebook: Any, part: str) -> Any:
    """The one code cell that holds `part`."""
    found = [c for c in notebook.cells if c.cell_type == "code" and part in c.source]
    assert len(found) == 1, part
    return found[0]


def text(notebook: Any, part: str) -> str:
    """What the cell prints and its value, as text; log lines and bars (on stderr) are left out."""
    outputs = [o for o in cell(notebook, part).outputs if o.get("name") != "stderr"]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


def bars(notebook: Any, part: str) -> str:
    """What the cell shows on stderr or as widgets."""
    outputs = cell(notebook, part).outputs
    return "".join(o.text for o in outputs if o.get("name") == "stderr") + html(notebook, part) + text(notebook, part)


def html(notebook: Any, part: str) -> str:
    return "".join(o.get("data", {}).get("text/html", "") for o in cell(notebook, part).outputs)


def test_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [c.outputs for c in notebook.cells if c.cell_type == "code" and c.outputs] == []
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code" and c.execution_count] == []


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
    assert '<img alt="3 completed"' in shown
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
    assert "600" in shown  # under way, or of it all: the last message may come when the cell has ended
    assert text(executed, "def nap").endswith("(600, 600)")  # a widget, where there is one, comes first


def test_the_stop_button_interrupts_and_the_session_lives_on(executed: Any) -> None:
    shown = text(executed, "signal.SIGINT")
    assert "stopped" in shown
    assert " cancelled<" in html(executed, "signal.SIGINT")
    assert text(executed, "double.submit(4)") == "8"
