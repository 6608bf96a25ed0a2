"""The demo's flow: a survey of the running Python's standard library.

`measure` reads, tokenises and parses one file, `score` rates the measurement, and a reduce on the workers merges
the scores into one ranking. Files that do not parse are intended: `score` handles their failures, and the demo
counts and groups them.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sysconfig
import tokenize
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch import allow_failure, cache_policies, flow, task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.future_lists import FutureList

TOP = 20
# ast.parse warns about odd escapes in the library's sources, which are not for us to mend.
warnings.filterwarnings("ignore", message=".*invalid .*(escape|literal)")

# Python's tokens in one expression: the same as those of the module tokenize (a test compares), four times as fast.
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\r\n]*)"""
    r"""|(?P<string>(?:[rRbBuUfF]{1,2})?(?:"""
    r"""'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''|\"{3}[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*\"{3}"""
    r"""|'[^\n'\\]*(?:\\.[^\n'\\]*)*'|"[^\n"\\]*(?:\\.[^\n"\\]*)*"))"""
    r"""|(?P<number>0[xXoObB][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d[\d_]*)?[jJ]?)"""
    r"""|(?P<name>\w+)"""
    r"""|(?P<operator>\*\*=?|//=?|>>=?|<<=?|\.\.\.|->|:=|[-+*/%&@|^=<>!]=|[-+*/%&@|^=<>()\[\]{},:.;~])""",
    re.DOTALL,
)
_FUNCTIONS: tuple[type, ...] = (ast.FunctionDef, ast.AsyncFunctionDef)
_CLASSES: tuple[type, ...] = (ast.ClassDef,)
_IMPORTS: tuple[type, ...] = (ast.Import, ast.ImportFrom)
_BRANCHES: tuple[type, ...] = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.ExceptHandler, ast.With, ast.AsyncWith, ast.IfExp,
    ast.BoolOp, ast.comprehension, ast.Assert, ast.match_case,
)  # fmt: skip


class SourceFile(NamedTuple):
    """A file at the begin of the survey: its time and size are part of the cache key."""

    path: str  # relative to the library
    root: str
    mtime_ns: int
    size: int


class Measure(NamedTuple):
    """The measurements of one file."""

    path: str
    lines: int
    tokens: int
    functions: int
    classes: int
    branches: int
    imports: int
    longest: str  # the name of the longest function, empty when there is none
    longest_lines: int


class Score(NamedTuple):
    """One row of the ranking."""

    score: float
    path: str
    longest: str
    longest_lines: int
    branches: int


class Ranking(NamedTuple):
    """The hardest files to read, and sums over all files; two of them merge into one."""

    top: tuple[Score, ...] = ()
    longest: tuple[Score, ...] = ()
    files: int = 0
    lines: int = 0
    tokens: int = 0
    functions: int = 0
    branches: int = 0
    imports: int = 0
    sizes: tuple[int, ...] = ()  # lines per file


class Failure(NamedTuple):
    """A file that could not be measured."""

    item: int
    path: str
    type: str
    message: str


class Survey(NamedTuple):
    """The result of the flow."""

    ranking: Ranking
    files: int
    cached: int
    failures: list[Failure]


def library_files(root: str | None = None, limit: int | None = None) -> list[SourceFile]:
    """Return every .py file of the running Python's standard library, without site-packages; sorted."""
    base = root or sysconfig.get_path("stdlib")
    found = list(_walk(base))
    found.sort()
    return found[:limit]


def _walk(base: str) -> Iterator[SourceFile]:
    for folder, folders, files in os.walk(base):
        folders[:] = [f for f in folders if f not in ("site-packages", "dist-packages", "__pycache__")]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                status = os.stat(path)
                yield SourceFile(os.path.relpath(path, base), base, status.st_mtime_ns, status.st_size)


def count_tokens(text: str) -> Counter[str | None]:
    """Return how many comments, strings, numbers, names and operators a source text has."""
    return Counter(found.lastgroup for found in _TOKEN.finditer(text))


@task(cache_policy=cache_policies.INPUTS + cache_policies.TASK_SOURCE)
def measure(file: SourceFile) -> Measure:
    """Tokenise, parse and measure one file; a broken file raises the parser's exception."""
    with open(os.path.join(file.root, file.path), "rb") as stream:
        source = stream.read()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    tokens = count_tokens(source.decode(encoding)).total()
    nodes = list(ast.walk(ast.parse(source, file.path)))
    kinds = Counter(map(type, nodes))
    longest, longest_lines = "", 0
    for node in nodes:
        if type(node) in _FUNCTIONS:
            length = node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]
            if length > longest_lines:
                longest, longest_lines = node.name, length  # type: ignore[attr-defined]
    functions, branches, imports, classes = (
        sum(kinds[kind] for kind in group) for group in (_FUNCTIONS, _BRANCHES, _IMPORTS, _CLASSES)
    )
    lines = source.count(b"\n") + (not source.endswith(b"\n"))
    return Measure(file.path, lines, tokens, functions, classes, branches, imports, longest, longest_lines)


@task
def score(measured: Any) -> Ranking:
    """Return a ranking of one file by how hard it is to read; an empty ranking for a file that failed."""
    if isinstance(measured, BaseException):
        return Ranking()
    m: Measure = measured
    density = m.branches / max(5, m.functions)
    points = round(m.longest_lines / 10 + 3 * min(density, 10) + m.imports / 5 + m.lines / 500, 1)
    row = (Score(points, m.path, m.longest, m.longest_lines, m.branches),)
    return Ranking(row, row, 1, m.lines, m.tokens, m.functions, m.branches, m.imports, (m.lines,))


def merge(left: Ranking, right: Ranking) -> Ranking:
    """Merge two rankings; associative, so that workers may combine in any tree."""
    top = sorted((*left.top, *right.top), key=lambda s: (-s.score, s.path))[:TOP]
    longest = sorted((*left.longest, *right.longest), key=lambda s: (-s.longest_lines, s.path))[:TOP]
    return Ranking(
        tuple(top), tuple(longest), left.files + right.files, left.lines + right.lines, left.tokens + right.tokens,
        left.functions + right.functions, left.branches + right.branches, left.imports + right.imports,
        left.sizes + right.sizes,
    )  # fmt: skip


@flow(name="stdlib-survey")
def survey(root: str | None = None, limit: int | None = None, fresh: bool = False) -> Survey:
    """Measure, score and rank the standard library; broken files are failures in the result."""
    files = library_files(root, limit)
    first = measure.with_options(refresh_cache=True) if fresh else measure
    measured: FutureList = first.map(files)
    ranking = score.map(allow_failure(measured)).reduce(merge).result()
    failures = []
    for index in measured.failed():
        error = measured[index].exception()
        # Only the first argument: the text of a SyntaxError also has the file's name and line.
        message = str(error.args[0]) if error is not None and error.args else ""
        failures.append(Failure(index, files[index].path, type(error).__name__, message))
    return Survey(ranking, len(files), measured.counts.get("Cached", 0), failures)
