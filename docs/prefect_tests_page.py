"""Writes docs/prefect_tests.md: which of Prefect's own tests fail here, and why: `make docs`.

The tests are those of docs/prefect_tests.txt, by kind. tests/prefect_own runs Prefect's files and compares.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).with_name("prefect_tests.md")
KNOWN = Path(__file__).with_name("prefect_tests.txt")
HEAD = """# Prefect's own tests

Prefect's test files for tasks, flows, futures, states, cache policies, task runners, annotations, callables,
transactions, collections, serializers, locks and hashing (version 3.8.3) run unchanged against
`anabranch.compat.prefect`. Tests that ask Prefect's server are skipped. The tests below fail, by kind; a test with
several cases is named once. How many cases pass, the table of `tests/prefect_own/test_their_tests.py` says.

To repeat it, name a checkout of Prefect and install pytest-asyncio and regex:

<!-- not run: needs Prefect -->
```console
$ ANABRANCH_PREFECT_CHECKOUT=/where/prefect/is python -m pytest -m nightly tests/prefect_own
```

`make docs` writes this page.
"""


class Kind(NamedTuple):
    """Tests that fail for one reason."""

    title: str
    why: str
    tests: list[str]


def kinds() -> list[Kind]:
    """Return the kinds of the list."""
    found: list[Kind] = []
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            title, _, why = line.removeprefix("## ").partition(": ")
            found.append(Kind(title, why, []))
        elif line and not line.startswith("#"):
            found[-1].tests.append(line)
    return found


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for kind in kinds():
        count = f"{len(kind.tests)} test{'s' if len(kind.tests) > 1 else ''}"
        parts.append(f"## {kind.title}\n\n{kind.why} {count}.\n")
        rows = defaultdict(list)
        for one in kind.tests:
            place, _, name = one.rpartition("::")
            rows[place].append(f"`{name}`")
        lines = [f"| `{place}` | {', '.join(names)} |" for place, names in rows.items()]
        parts += ["| in | tests |\n|---|---|", *lines, ""]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
