"""Plays a page in the current folder, as a reader would: `python -m tests.docs.play docs/first_steps.md`.

Reasons behind the page's name are those of blocks that run all the same: `... docs/hpc.md "needs Slurm"`.

The blocks of Python are one program, in one namespace, as the cells of a notebook; commands are typed between them.

- An expression with a literal in a comment behind it has that value: `square(3)  # 9`.
- A block whose last line says `# raises NAME` or `# raises NAME: words` raises that, and its message begins so.
- The lines below a command are printed by it, in that order (`tests/docs/blocks.py: missing`).
- `RUN` in a command is the name of the newest run in the record; `tests/docs/terminal.py` has the rest of typing.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tokenize
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.docs.blocks import PYTHON, ROOT, SHELLS, Block, blocks
from tests.docs.terminal import Terminal, Wrong

if TYPE_CHECKING:
    from collections.abc import Collection

RAISES = re.compile(r"# raises (\w+)(?:: (.+))?$")
NOTHING = object()


def play(page: Path, although: Collection[str] = ()) -> dict[str, int]:
    """Run all blocks of a page that are to be run; returns how many ran, by kind.

    Args:
        although: reasons of blocks that are run in spite of them.

    Raises:
        Wrong: something did not happen as the page has it; it names page and line.
    """
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main  # without a file, as that of a notebook: pools would run the page
    terminal = Terminal(page, slurm="needs Slurm" in although)
    found, counts = blocks(page.read_text(encoding="utf-8")), {"python": 0, "file": 0, "command": 0}
    for at, block in enumerate(found):
        if (block.reason and block.reason not in although) or not block.runs:
            continue
        if block.title:
            written(block, found[at + 1 :])
            counts["file"] += 1
        elif block.language in PYTHON:
            ran(block, page, main)
            counts["python"] += 1
        elif block.language in SHELLS:
            counts["command"] += terminal.type(block)
    return counts


def written(block: Block, behind: list[Block]) -> None:
    """Write a file; run it too if it is a program that no later block names."""
    Path(block.title).parent.mkdir(parents=True, exist_ok=True)
    Path(block.title).write_text(block.text, encoding="utf-8")
    stem = Path(block.title).stem
    collected = stem == "conftest" or stem.startswith("test_")  # by pytest
    named = any(re.search(rf"\b{'pytest' if collected else re.escape(stem)}\b", later.text) for later in behind)
    if collected and not named:
        raise Wrong(f"{block.title}: no later block runs pytest")
    if block.language in PYTHON and not named:
        done = subprocess.run([sys.executable, block.title], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Wrong(f"{block.title} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def ran(block: Block, page: Path, main: types.ModuleType) -> None:
    """Run a block of Python statement by statement, and compare what it says with what happens."""
    tree, said = ast.parse(block.text), comments(block.text)
    raises = RAISES.search(block.text.rstrip().splitlines()[-1])
    try:
        for node in tree.body:
            value = one(node, block, page, main)
            expected = said.get(node.end_lineno or 0, NOTHING)
            if isinstance(node, ast.Expr) and expected is not NOTHING and value != expected:
                raise Wrong(f"{page}:{block.line + node.lineno - 1}: the page says {expected!r}, got {value!r}")
    except Exception as error:
        if raises is None or type(error).__name__ != raises[1] or not str(error).startswith(raises[2] or ""):
            raise
        return
    if raises is not None:
        raise Wrong(f"{page}:{block.line}: the page says that this raises {raises[1]}, and nothing was raised")


def one(node: ast.stmt, block: Block, page: Path, main: types.ModuleType) -> Any:
    """Run one statement; returns the value of an expression. Its lines are those of the page, for tracebacks."""
    ast.increment_lineno(node, block.line - 1)
    body: Any = ast.Expression(node.value) if isinstance(node, ast.Expr) else ast.Module([node], [])
    mode = "eval" if isinstance(node, ast.Expr) else "exec"
    code = compile(body, str(page), mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    ast.increment_lineno(node, 1 - block.line)
    value = eval(code, vars(main))
    return asyncio.run(value) if inspect.iscoroutine(value) and code.co_flags & inspect.CO_COROUTINE else value


def comments(text: str) -> dict[int, Any]:
    """Return the comments that are literals, by line."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            try:
                found[token.start[0]] = ast.literal_eval(token.string.lstrip("# "))
            except (SyntaxError, ValueError):
                continue
    return found


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())  # modules beside the program
    print(json.dumps(play(ROOT / sys.argv[1], sys.argv[2:])))
