"""Parts of docs/benchmarks.md with a table of their own, each of which may be measured and written alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.registry import MODULES

if TYPE_CHECKING:
    from benchmarks.sampling import Journal


@dataclass(frozen=True)
class Part:
    """A section of the page.

    Args:
        title: its heading.
        modules: of `benchmarks.subjects`, whose rows it has.
        says: what a reader must know of them.
    """

    title: str
    modules: tuple[str, ...]
    says: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for module in self.modules for name in MODULES[module])


PARTS = (
    Part(
        "The service",
        ("record_http", "schedules", "claims", "ordered", "server", "recovery"),
        """\
Server, agents, drivers and what loads them share one machine. Prefect's server keeps its runs in SQLite too, is on
loopback, and sends no telemetry; it has its defaults, but for the look of its worker each second where the row says
so. `kill -9` comes at a moment when the dead one held something; server and database are started again at once, as a
supervisor would. PostgreSQL is one of the row's own with the settings that it comes with, and all of its processes are
killed. Effects too many are those of tasks that ran again although their value was recorded.""",
    ),
    Part(
        "Other people's code",
        ("compat", "executors"),
        """\
The script of the Prefect rows is one file (`SCRIPT` in `benchmarks/subjects/compat.py`), run as it is on both sides;
[measure.md](howto/measure.md#a-script-of-prefects) does the same with a script of yours. Executors have two workers,
and so have their peers; ours keep a record.""",
    ),
)
APART = frozenset(name for part in PARTS for name in part.names)


def of(journal: Journal) -> list[Part]:
    """The parts that a journal has rows of."""
    taken = {sample.row for sample in journal.samples}
    return [part for part in PARTS if part.names & taken]


def alone(journal: Journal) -> bool:
    """Whether a journal has rows of parts and of nothing else: it leaves the rest of the page as it was."""
    return {sample.row for sample in journal.samples} <= APART


def put(page: str, title: str, text: str) -> str:
    """The page with that section in place of the one of its title; before what is unfair where it had none."""
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## )", page, re.DOTALL | re.MULTILINE)
    if found is not None:
        return page[: found.start()] + text + page[found.end() :]
    before, heading, after = page.partition("## What is unfair\n")
    return before + text + heading + after
