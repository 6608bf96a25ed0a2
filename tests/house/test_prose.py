"""Plain English, as far as a test can tell: docstrings and comments name their subject.

"Who", "whoever", "whom" and "whose" often stand where the noun of the caller, the worker or the thread is missing.
A few are right. The cap only goes down.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING

from tests.house.test_floors import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = re.compile(r"\b(who|whose|whom|whoever)\b", re.IGNORECASE)
MOST = 60


def prose(source: str) -> Iterator[str]:
    """Yield the docstrings and comments of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def counted(source: str) -> int:
    return sum(len(WORDS.findall(text)) for text in prose(source))


def test_docstrings_and_comments_name_their_subject() -> None:
    found = {file.relative_to(ROOT).as_posix(): counted(file.read_text("utf-8")) for file in ROOT.rglob("*.py")}
    assert sum(found.values()) <= MOST, {name: number for name, number in sorted(found.items()) if number}


def test_words_in_code_do_not_count() -> None:
    assert counted('"""Whose and who."""\nwho = "whom"  # whoever\n') == 3
