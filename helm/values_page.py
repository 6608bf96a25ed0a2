"""Writes the table of values into the chart's README from what values.yaml says behind `# --`: `make docs`.

    # -- What the value does.        a row of the table; a line of `# ` below goes on with it
    name: default
    section:                         no comment: its entries have rows of their own
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART = Path(__file__).with_name("anabranch")
PAGE = CHART / "README.md"
BEGIN, END = "<!-- values: written by `make docs` -->", "<!-- end of values -->"


def page(readme: str, values: str) -> str:
    """Return the README with its table written anew.

    Raises:
        ValueError: a value has no words of its own.
    """
    head, _, rest = readme.partition(BEGIN)
    tail = rest.partition(END)[2]
    lines = ["| value | default | what it does |", "|---|---|---|"]
    for name, default, told in rows(values):
        cells = (f"`{name}`", f"`{json.dumps(default, ensure_ascii=False)}`", told)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{tail}"


def rows(values: str) -> list[tuple[str, Any, str]]:
    """Return (dotted name, default, words) of each value that has words, in the file's order."""
    return list(_rows(yaml.compose(values), yaml.safe_load(values), values.splitlines(), ""))


def _rows(node: yaml.MappingNode, defaults: dict[str, Any], lines: list[str], before: str) -> Iterator[Any]:
    for key, value in node.value:
        name, told = f"{before}{key.value}", words(lines, key.start_mark.line)
        if told:
            yield name, defaults[key.value], told
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _rows(value, defaults[key.value], lines, f"{name}.")
        else:
            raise ValueError(f"{name} in values.yaml has no words: write `# -- What it does.` above it")


def words(lines: list[str], line: int) -> str:
    """Return what the comment above a line says, "" where there is none or it is no `# --`."""
    found: list[str] = []
    for text in reversed([one.strip() for one in lines[:line]]):
        if not text.startswith("#"):
            break
        found.append(text.removeprefix("#").strip())
        if text.startswith("# --"):
            return " ".join(reversed(found)).removeprefix("--").strip()
    return ""


if __name__ == "__main__":
    text = page(PAGE.read_text(encoding="utf-8"), (CHART / "values.yaml").read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
