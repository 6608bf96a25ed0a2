"""The page of errors, as the terminal shows it: `anabranch explain OptionError`.

The wheel has a copy of the page; a checkout has it among its docs.
"""

from __future__ import annotations

import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
PLACES = (_PACKAGE / "reference" / "errors.md", _PACKAGE.parent / "docs" / "reference" / "errors.md")
_NAME = re.compile(r"[A-Z]\w*")
_LINK = re.compile(r"\[([^]\n]+)\]\([^)\n]+\)")


def sections() -> dict[str, str]:
    """Return what the page says of each error, by its name; nothing where there is no page."""
    page = next((place.read_text(encoding="utf-8") for place in PLACES if place.is_file()), "")
    found = {}
    for part in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        found[name.strip()] = re.split(r"^## ", text, flags=re.MULTILINE)[0].strip()
    return found


def name_of(error: Exception) -> str:
    """Return the name under which the page speaks of an error, which may be that of a base; "" where it does not."""
    told = sections()
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in told), "")


def may_be_error(word: str) -> bool:
    """Return whether a word looks like a class: names of runs, and their ids, begin with small letters or digits."""
    return _NAME.fullmatch(word) is not None


def shown(name: str, text: str) -> str:
    """Return a section as text for a terminal: links are their words, blocks of code are indented."""
    lines, code = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            code = not code
        else:
            lines.append(f"    {line}".rstrip() if code else _LINK.sub(r"\1", line))
    return "\n".join([f"{name}: from anabranch.errors import {name}", "", *lines])
