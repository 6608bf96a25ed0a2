"""Each program and each command of the README and of docs/ runs; which do not is counted here, with the reason.

A page is one program, played in a folder and with a record of its own (`tests/docs/play.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks, missing, pages
from tests.docs.not_run import NIGHTLY, NOT_RUN

TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in pages()}
PLAYED = [page for page, text in TEXTS.items() if any(block.runs and not block.reason for block in blocks(text))]
RUNNING = 186  # blocks that run; raised with the pages, and lowered only where blocks that ran are gone


def case(page: str) -> object:
    marks = [pytest.mark.nightly(NIGHTLY[page])] if page in NIGHTLY else []
    return pytest.param(page, id=page, marks=marks)


@pytest.mark.parametrize("page", [case(page) for page in PLAYED])
def test_a_page_runs(page: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANABRANCH_", "SLURM_"))}
    ours = {"ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "PATH": path, "NO_COLOR": "1"}
    if not entry_points(group="pytest11", name="anabranch"):  # as installed before the plugin was there
        ours["PYTEST_PLUGINS"] = "anabranch.integrations.pytest_plugin"
    (tmp_path / "page").mkdir()
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "ab").symlink_to(Path(sys.executable).parent.parent)  # where the pages for clusters install
    ours["HOME"] = str(tmp_path / "reader")
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.play", page],
        cwd=tmp_path / "page",
        env={**environment, **ours},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    counts = json.loads(done.stdout.splitlines()[-1])
    assert sum(counts.values()) > 0


def test_what_does_not_run_is_known() -> None:
    left = {page: Counter(block.reason for block in blocks(text) if block.reason) for page, text in TEXTS.items()}
    assert {page: dict(reasons) for page, reasons in left.items() if reasons} == NOT_RUN


def test_a_reason_stands_before_a_block() -> None:
    marks = {page: text.count("<!-- not run:") for page, text in TEXTS.items()}
    reasons = {page: sum(NOT_RUN.get(page, {}).values()) for page in TEXTS}
    assert marks == reasons


def test_most_of_what_is_shown_runs() -> None:
    """The count of blocks that run only goes up."""
    shown = [block for text in TEXTS.values() for block in blocks(text) if block.runs]
    assert sum(not block.reason for block in shown) >= RUNNING


PAGE = """
```python
x = 1
x + 1  # 2
```

```python title="job.py"
print("hello")
```

```console
$ python job.py  # exit code 3
hello
```

<!-- not run: needs Slurm -->
```console
$ sbatch job
```

<!-- invisible-code-block: python
y = 2
-->

```python
raise ValueError("odd 3")  # raises ValueError: odd
```
"""


def test_blocks_are_found_in_order_with_title_reason_and_line() -> None:
    found = [(b.line, b.language, b.title, b.reason) for b in blocks(PAGE)]
    assert found == [
        (3, "python", "", ""),
        (8, "python", "job.py", ""),
        (12, "console", "", ""),
        (18, "console", "", "needs Slurm"),
        (22, "python", "", ""),
        (26, "python", "", ""),
    ]


PRINTED = """12:30:01.123 | INFO    | begun
load: 10 items in 0.21 s (47/s)
etl (brave-newt): Failed: 3 of 10
id 01a230d9-ede1-7841"""


@pytest.mark.parametrize(
    ("shown", "lacks"),
    [
        (["load: 10 items in 1.70 s (6/s)"], ""),
        (["load: 11 items in 1.70 s (6/s)"], "load: 11 items in 1.70 s (6/s)"),
        (["08:00:00.000 | INFO | begun", "...", "etl (brave-newt): ...", "id 01a230dc-cc14"], ""),
        (["etl (brave-newt): Failed: 3 of 10", "load: 10 items in 1 s (10/s)"], "load: 10 items in 1 s (10/s)"),
        (["etl (brave-newt)"], "etl (brave-newt)"),
    ],
)
def test_what_a_page_shows_is_what_was_printed_but_for_times_and_ids(shown: list[str], lacks: str) -> None:
    assert missing(shown, PRINTED) == lacks


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("```python\n1 + 1  # 3\n```", "page says 3, got 2"),
        ("```python\n1 / 0\n```", "ZeroDivisionError"),
        ("```python\n1 + 1  # raises ValueError\n```", "nothing was raised"),
        ("```python\nint('x')  # raises ValueError: other words\n```", "invalid literal"),
        ("```console\n$ python -c 'exit(3)'\n```", "ended with 3"),
        ("```console\n$ sbatch job\n```", "no reason says why"),
        ("```console\n$ python -c 'print(1)'\n2\n```", "shows '2' of"),
        ('```python title="job.py"\n1 / 0\n```', "ended with 1"),
    ],
)
def test_a_page_that_is_wrong_is_told(block: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.play", str(tmp_path / "page.md")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 1
    assert told in done.stderr
