"""Writes docs/options.md from `anabranch.core.options`, where each option is told once: `make docs`."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from anabranch.core import keywords
from anabranch.core.options import FlowOptions, MapOptions, RunOptions, TaskOptions, default_of

PAGE = Path(__file__).with_name("options.md")
HEAD = """# Options

Of `@task(...)`, `@flow(...)` and `.with_options(...)`, by keyword. An option that is misspelt is an error where the
function is decorated, and names the nearest one. `help(anabranch.task)` and `help(anabranch.flow)` say the same as this
page, which `make docs` writes.
"""
# How the aliases of `core.keywords` read.
ALIASES = {
    "Any": "runner, its class or its name",
    "Seconds": "seconds or timedelta",
    "Delays": "seconds, timedelta, list of either or function",
    "Hooks": "function or list of functions",
    "Texts": "str or list of str",
    "Template": "str or function",
    "Chunk": '"auto" or int',
    "Keep": '"values" or "none"',
}

PLAIN = {"Callable": "function", "type": "exception type", "Iterable": "list of them", "Mapping": "dict"}


def page() -> str:
    """The whole page as Markdown."""
    common = {option.name for option in fields(RunOptions)}
    parts = [
        HEAD,
        section("Tasks and flows", RunOptions, keywords.RunKeywords, set()),
        section("Tasks", TaskOptions, keywords.TaskKeywords, common),
        f"`{'`, `'.join(sorted(_of_both()))}` can also be given to one `map`, and `run_key` to a map alone.\n",
        section("Flows", FlowOptions, keywords.FlowKeywords, common),
    ]
    return "\n".join(parts)


def _of_both() -> set[str]:
    return {option.name for option in fields(MapOptions)} & {option.name for option in fields(TaskOptions)}


def section(title: str, kind: Any, words: Any, without: set[str]) -> str:
    """A table of the options of `kind` that are not among `without`."""
    rows = [f"## {title}\n", "| option | given as | default | what it does |", "|---|---|---|---|"]
    for option in fields(kind):
        if option.name not in without:
            told = option.metadata["doc"].replace("\n", " ")
            if older := option.metadata["older"]:
                told += f" Older: `{'`, `'.join(older)}`."
            cells = (f"`{option.name}`", written(words, option.name), f"`{default_of(option)!r}`", told)
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def written(words: Any, name: str) -> str:
    """How an option may be given, in words."""
    text: str = words.__annotations__[name].__forward_arg__.removesuffix(" | None")
    text = re.sub(r"Literal\[(.*)\]", lambda found: " or ".join(found[1].replace("'", '"').split(", ")), text)
    text = re.sub(r"\b(Callable|type|Iterable|Mapping)\[[^|]*\](?= \||$)", lambda found: PLAIN[found[1]], text)
    return ALIASES.get(text, text).replace("CachePolicy", "policy").replace(" | ", " or ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
