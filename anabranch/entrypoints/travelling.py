"""The files that a flow's file needs beside itself: modules and packages of its folder that it imports.

    survey.py --import rivers.gauges--> rivers/: all of its .py files --import units--> units.py
                 '--import pandas-----> not in the folder: installed where the flow runs

Imports are read and not executed, those within functions too. A package travels whole, since it may import by names
that no reader sees.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OURS = "anabranch"  # the image has its own, also where a checkout of it is the folder


def files_of(file: Path) -> dict[str, str]:
    """Return the text of a flow's file, and of all that travels with it, by paths from its folder.

    Raises:
        LaunchError: one of them cannot be read.
    """
    folder = file.resolve().parent
    found = {file.name: _text(file)}
    left = [found[file.name]]
    seen = {_OURS, file.stem}
    while left:
        for name in sorted(_imported(left.pop()) - seen):
            seen.add(name)
            for one in _beside(folder, name):
                path = one.relative_to(folder).as_posix()
                found[path] = _text(one)
                left.append(found[path])
    return found


def _imported(text: str) -> set[str]:
    """Return the first names of the modules that a text imports; relative ones are of its package, which is whole."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a file of a package that nobody imports, such as one for another Python
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _beside(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a module or a package of a folder, as Python would find it there: a package first."""
    package, module = folder / name, folder / f"{name}.py"
    if module.is_file() and not (package / "__init__.py").is_file():
        yield module
    elif package.is_dir():  # one without `__init__.py` is a namespace package, unless nothing in it is Python
        yield from sorted(one for one in package.rglob("*.py") if one.is_file())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"{file} cannot be read: {error}") from error
