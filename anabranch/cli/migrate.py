"""`anabranch migrate check PATH`: what of a program that was written for Prefect runs as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli import tables
from anabranch.compat.migrate.files import code_of, sources
from anabranch.compat.migrate.uses import uses
from anabranch.compat.migrate.verdicts import Fate, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.group("migrate")
def command() -> None:
    """Bring programs over that were written for Prefect."""


@command.command("check")
@click.argument(
    "places", metavar="FILE|FOLDER...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--quiet", is_flag=True, help="Only what does not run as it is.")
def check(places: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Say line by line what runs as it is under `python -m anabranch.compat prefect`, and what does not.

    Python files and notebooks are read, and nothing of them is imported or run. The exit code is 1 where a line is to
    be changed or has no counterpart.
    """
    found = [(file, one) for place in places for file in sources(place) for one in judged(file)]
    if as_json:
        tables.dump([plain(file, one) for file, one in found])
    else:
        for line in lines_of(found, quiet):
            click.echo(line)
    if any(one.fate is not Fate.AS_IT_IS if isinstance(one, Verdict) else True for _, one in found):
        raise SystemExit(1)


def judged(file: Path) -> Iterator[Verdict | str]:
    """Yield the verdicts on a file's lines; a text says why it cannot be read."""
    try:
        yield from map(judge, uses(code_of(file)))
    except SyntaxError as error:
        yield f"line {error.lineno}: {error.msg}: it is not checked"
    except (OSError, ValueError) as error:
        yield f"{error}: it is not checked"


def plain(file: Path, one: Verdict | str) -> dict[str, Any]:
    if isinstance(one, str):
        return {"file": str(file), "error": one}
    return {
        "file": str(file), "line": one.use.line, "name": one.use.name, "option": one.use.option, "fate": str(one.fate),
        "why": one.why,
    }  # fmt: skip


def lines_of(found: list[tuple[Path, Verdict | str]], quiet: bool) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for file, one in found:
        if isinstance(one, str):
            counts["unread"] += 1
            yield f"{file}: {one}"
            continue
        counts[one.fate] += 1
        if not (quiet and one.fate is Fate.AS_IT_IS):
            yield f"{file}:{one.use.line}: {one.fate:<8}  {one.use}" + (f": {one.why}" if one.why else "")
    if not found:
        yield "Nothing of Prefect is used here."
        return
    told = [f"{counts[Fate.AS_IT_IS]} names run as they are", f"{counts[Fate.CHANGE]} want a changed line"]
    told += [f"{counts[Fate.NONE]} have no counterpart"]
    told += [f"{counts['unread']} files could not be read"] if counts["unread"] else []
    yield ", ".join(told) + "."
    if counts.total() == counts[Fate.AS_IT_IS]:
        yield "Run it: python -m anabranch.compat prefect FILE"
