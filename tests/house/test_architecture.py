"""docs/architecture.md is true: what it names exists, and it names every room and each file of the large rooms."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.house.imports import ROOT
from tests.house.test_floors import FLOORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = ROOT.parent / "docs" / "architecture.md"
LISTED = ["core", "engine", "driver", "worker", "runs"]  # rooms with a table of all their files


def names_in(file: Path) -> set[str]:
    """Return the names that a module defines, `Class.method` and constants included."""
    return set(defined(ast.parse(file.read_bytes()).body, ""))


def defined(body: list[ast.stmt], inside: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield inside + node.name
        if isinstance(node, ast.ClassDef):
            yield from defined(node.body, f"{inside}{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (inside + target.id for target in targets if isinstance(target, ast.Name))


def found(path: str) -> Path | None:
    """Return a path of the page as a file or folder: below the package, or in the repository."""
    return next((place for place in (ROOT / path, ROOT.parent / path) if place.exists()), None)


def test_the_page_names_what_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    folders = set(re.findall(r"`([\w/]+/)`", text))
    wrong = [f"no folder {name}" for name in sorted(folders) if not found(name)]
    for path, name in re.findall(r"`([\w/]+/\w+\.\w+|[a-z_]+\.(?:py|sql))(?:: ([\w.]+))?`", text):
        if path in {"file.py", "runner.py"}:  # any file, any runner's file
            continue
        file = found(path)
        if file is None:
            wrong.append(f"no file {path}")
        elif name and name not in names_in(file):
            wrong.append(f"no {name} in {path}")
    assert wrong == [], "docs/architecture.md names things that have moved"


def test_the_page_names_every_room() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rooms = [room for room in FLOORS if not any(f"`{room}{end}`" in text for end in ("/", ".py", ""))]
    assert rooms == []


def test_the_page_names_every_file_of_the_large_rooms() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for room in LISTED:
        part = text.partition(f"### {room}:")[2].partition("\n### ")[0]
        told = set(re.findall(r"`(\w+)`", part))
        assert sorted({file.stem for file in (ROOT / room).glob("*.py")} - told - {"__init__"}) == [], room
