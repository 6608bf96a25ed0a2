"""Plain English, as far as a test can tell: docstrings and comments name their subject, and lists in them are lists.

"Who", "whoever", "whom" and "whose" often stand where the noun of the caller, the worker or the thread is missing.
A few are right. The cap only goes down.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING

from tests.house.imports import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION = re.compile(r"^(Args|Attributes|Raises):$")
ENTRY = re.compile(r"^\*{0,2}\w+: \S")
WORDS = re.compile(r"\b(who|whose|whom|whoever)\b", re.IGNORECASE)
MOST = 55


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def comments(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def counted(source: str) -> int:
    if WORDS.search(source) is None:  # to split a module into tokens takes a hundred times as long
        return 0
    return sum(len(WORDS.findall(text)) for part in (docstrings, comments) for text in part(source))


def test_docstrings_and_comments_name_their_subject() -> None:
    found = {file.relative_to(ROOT).as_posix(): counted(file.read_text("utf-8")) for file in ROOT.rglob("*.py")}
    assert sum(found.values()) <= MOST, {name: number for name, number in sorted(found.items()) if number}


def test_words_in_code_do_not_count() -> None:
    assert counted('"""Whose and who."""\nwho = "whom"  # whoever\n') == 3


def too_deep(docstring: str) -> list[str]:
    """Return the entries of a docstring's lists that stand below another entry in place of beside it."""
    found, inside = [], False
    for line in docstring.splitlines():
        text = line.lstrip()
        depth = len(line) - len(text)
        if not text:
            continue
        if SECTION.match(text) and depth == 4:
            found.append(text)
        inside = (depth > 0 and inside) or bool(SECTION.match(line))
        if inside and depth == 8 and ENTRY.match(text):
            found.append(text)
    return found


def test_entries_of_a_list_stand_side_by_side() -> None:
    """As help() shows them."""
    sources = {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in ROOT.rglob("*.py")}
    found = {
        name: deep
        for name, source in sources.items()
        if (deep := [entry for text in docstrings(source) for entry in too_deep(text)])
    }
    assert found == {}


def test_an_entry_below_another_is_found() -> None:
    assert too_deep("A.\n\nArgs:\n    a: one.\n    b: two,\n        on two lines.") == []
    assert too_deep("A.\n\nArgs:\n    a: one.\n        b: two.\n\n    Attributes:\n        c: three.") == [
        "b: two.", "Attributes:", "c: three.",
    ]  # fmt: skip
