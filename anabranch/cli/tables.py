"""Tables and JSON on stdout: rich on a terminal, plain columns when piped."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from anabranch.core import colours

if TYPE_CHECKING:
    from collections.abc import Sequence


FORM = 1  # of lists as JSON: it counts up when a key changes its meaning or goes


def show(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print rows under their columns; columns named in `right` are numbers."""
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    if colours.wanted(sys.stdout.isatty()):
        _rich(columns, texts, right)
        return
    widths = [max(len(name), *(len(row[i]) for row in texts), 0) for i, name in enumerate(columns)]
    for row in [list(columns), *texts]:
        cells = [
            text.rjust(width) if name in right else text.ljust(width)
            for text, width, name in zip(row, widths, columns, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left")
    for row in rows:
        table.add_row(*(Text(text) for text in row))  # as plain text: a name may contain square brackets
    Console(force_terminal=True).print(table)


def dump(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def dump_some(name: str, rows: Sequence[object], total: int) -> None:
    """Print rows as JSON under a name, with their number, the total, and the version of this form."""
    dump({"version": FORM, "shown": len(rows), "total": total, name: rows})


def tell_rest(what: str, cut: bool) -> None:
    """Print on stderr that a list was cut, and how to see more of it."""
    if cut:
        click.echo(f"({what}; --limit N shows more)", err=True)
