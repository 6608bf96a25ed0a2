"""The sources of a program: Python files and the code cells of notebooks, in a file or a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = (".py", ".ipynb")
_LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}


def sources(place: Path) -> Iterator[Path]:
    """Yield the files of a folder that have code, by name; environments and hidden folders are left out."""
    if place.is_file():
        yield place
        return
    for folder, inner, names in os.walk(place):
        inner[:] = sorted(name for name in inner if name not in _LEFT_OUT and not name.startswith("."))
        if "pyvenv.cfg" in names:
            inner.clear()
            continue
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(KINDS))


def code_of(file: Path) -> str:
    """Return the code of a file; of a notebook that of its cells, without lines that IPython alone reads.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text, or no notebook.
    """
    text = file.read_text("utf-8")
    if file.suffix != ".ipynb":
        return text
    cells = json.loads(text).get("cells", [])
    lines = [line for cell in cells if cell.get("cell_type") == "code" for line in "".join(cell["source"]).splitlines()]
    return "\n".join(_plain(line) for line in lines)


def _plain(line: str) -> str:
    """Return a line of a cell; in place of one that IPython alone reads, a statement that does nothing."""
    bare = line.lstrip()
    return line[: len(line) - len(bare)] + "pass" if bare.startswith(("%", "!", "?")) else line
