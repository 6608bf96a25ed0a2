"""The code blocks of a page, in the page's order, as Sybil's lexers find them.

    ```python                         a piece of the page's one program
    ```python title="survey.py"       a file of the page's folder; so is a block of any language with a title
    ```console                        commands behind `$`, typed in that folder, with what they print (see `missing`)
    <!-- not run: REASON -->          before a block: it is not run. `tests/docs/test_blocks.py` lists all of them
    <!-- invisible-code-block: python
    ...                               what the program needs, and no reader
    -->
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sybil import Document
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
FENCES = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))
HIDDEN = DirectiveInHTMLCommentLexer("invisible-code-block", "python")
REASON = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
TITLE = re.compile(r'title="([^"]+)"')
PYTHON = {"python", "py"}
SHELLS = {"console", "bash", "sh", "shell"}


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        line: of the page, on which its text begins, from 1.
        title: the name of the file that it is; "": none.
        reason: for which it is not run; "": it is run.
    """

    line: int
    language: str
    text: str
    title: str = ""
    reason: str = ""

    @property
    def runs(self) -> bool:
        """Whether a block of this kind is run unless a reason is given."""
        return self.language in PYTHON | SHELLS or bool(self.title)


def pages() -> list[str]:
    """Return the texts at the root and all pages of docs/, as paths from the root."""
    below = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").rglob("*.md"))
    return ["README.md", "CONTRIBUTING.md", "SECURITY.md", *below]


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page's text, in order."""
    document = Document(text, "page.md")
    hidden = [(region.start, "python", region) for region in HIDDEN(document)]
    fenced = [(region.start, region.lexemes["info"].strip(), region) for region in FENCES(document)]
    found = []
    for start, info, region in sorted(hidden + fenced, key=lambda one: one[0]):
        reason, title = REASON.search(text[:start]), TITLE.search(info)
        source = region.lexemes["source"]
        line = text.count("\n", 0, start + source.offset) + 1
        language = info.split()[0] if info else ""
        found.append(Block(line, language, str(source), title[1] if title else "", reason[1] if reason else ""))
    return found


@dataclass
class Command:
    """One command of a terminal.

    Attributes:
        code: the exit code that it has to end with; a command that fails says so behind it: `# exit code 1`.
        shown: the lines that the page shows of what it prints.
    """

    text: str
    code: int
    shown: list[str] = field(default_factory=list)


def commands(block: Block) -> list[Command]:
    """Return the commands of a block of a terminal, in order."""
    found: list[Command] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            code = re.search(r"#.*\bexit code (\d+)", line)
            found.append(Command(line[2:], int(code[1]) if code else 0))
        elif found and line.strip():
            found[-1].shown.append(line)
    return found


# What differs from one run of a command to the next: times, durations, rates, sizes, ids.
_VARIES = re.compile(
    r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d(?:\.\d+)?|\b[0-9a-f]{8}-[0-9a-f-]{4,}"
    r"|[\d.,]+ ?(?:us|ms|s|min|h|d|/s|[kMGT]?i?B)(?!\w)|[\d.]+ ?%"
)


def missing(shown: Sequence[str], printed: str) -> str:
    """Return the first line that a page shows and a command has not printed; "" where there is none.

    A command prints the lines that are shown, in their order, and perhaps others between them. `...` stands for any
    lines, and at the end of a line for its rest. Spaces, times, durations, sizes and ids are not compared.
    """
    left = iter([_plain(line) for line in printed.splitlines()])
    for line in shown:
        wanted = _plain(line)
        if wanted == "...":
            continue
        start = wanted.removesuffix("...").rstrip()
        if not any(found.startswith(start) if start != wanted else found == wanted for found in left):
            return line
    return ""


def _plain(line: str) -> str:
    return " ".join(_VARIES.sub("0", line).split())


def first_word(command: str) -> str:
    """Return the program of a command, behind variables that are set for it."""
    words = shlex.split(command, comments=True)
    return next((word for word in words if not re.match(r"\w+=", word)), "")
