"""The type of an argument that names a recorded run: a shell completes it with names from the record."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 50  # names that are offered, the newest


class RunName(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A run's name, its id, or the start of the id."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the newest runs with a name, or else an id, that begins so. Nothing is written, and nothing fails."""
        found: list[CompletionItem] = []
        with suppress(Exception):  # a shell has no place for an error
            found = [CompletionItem(name, help=told) for name, told in _begun(incomplete)]
        return found


RUN = RunName()


def _begun(text: str) -> Iterator[tuple[str, str]]:
    from anabranch import settings
    from anabranch.records.names import newest

    chosen = settings.load()
    rows = newest(chosen.records_place, shared=chosen.records_shared, limit=1000 if text else MANY)
    told = {row.name: f"{row.flow}, {row.state}" for row in reversed(rows)}  # the newest of a name counts
    names = [name for name in dict.fromkeys(row.name for row in rows) if name.startswith(text)]
    if names:
        yield from ((name, told[name]) for name in names[:MANY])
    else:
        ids = [(row.id, f"{row.name}, {row.state}") for row in rows if row.id.startswith(text)]
        yield from ids[:MANY]
