"""`anabranch demo`: a survey of the standard library, on any runner, with a report."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli import tables
from anabranch.display import summary, units

if TYPE_CHECKING:
    from anabranch.cli.survey import Ranking, Survey

RUNNERS = ("thread", "process", "inline", "dask", "ray")
ROWS = 10


@click.command("demo")
@click.option("--runner", type=click.Choice(RUNNERS), default="process", show_default=True, help="Where tasks execute.")
@click.option("--limit", type=click.IntRange(min=1), help="Survey at most this many files.")
@click.option("--report", default="report.html", show_default=True, help="Where the report goes.")
@click.option("--fresh", is_flag=True, help="Measure again what the cache holds.")
def command(runner: str, limit: int | None, report: str, fresh: bool) -> None:
    """Survey the standard library's own source files.

    A task per file tokenises, parses and measures it, a second one scores it, and a reduce on the workers ranks them.
    Some of the files are broken on purpose. A second run is served from the cache.
    """
    from anabranch.cli import survey

    began = time.monotonic()
    flow = survey.survey.with_options(runner=runner)
    state = flow(limit=limit, fresh=fresh, return_state=True)
    if not state.is_completed():
        click.echo(f"Error: the demo ended as {state.name}: {state.exception()}", err=True)
        sys.exit(1)
    found: Survey = state.result()
    took = time.monotonic() - began
    click.echo("")
    _print(found, took, runner)
    written = _report(found, took, runner, state, report)
    click.echo(f"report: {written}")


def _print(found: Survey, took: float, runner: str) -> None:
    ranking = found.ranking
    click.echo(f"The {ROWS} files that are hardest to read, of {units.count(found.files)}:\n")
    tables.show(
        ["score", "file", "longest function", "its lines", "branches"],
        [(s.score, s.path, s.longest or "-", s.longest_lines, s.branches) for s in ranking.top[:ROWS]],
        right=["score", "its lines", "branches"],
    )
    click.echo(
        f"\n{units.count(ranking.files)} files measured: {units.count(ranking.lines)} lines, "
        f"{units.count(ranking.tokens)} tokens, {units.count(ranking.functions)} functions, "
        f"{units.count(ranking.branches)} branches, {units.count(ranking.imports)} imports"
    )
    if found.failures:
        number = len(found.failures)
        click.echo(f"{units.count(number)} {'file does' if number == 1 else 'files do'} not parse, which is expected:")
        for line in summary.failure_lines(_groups(found)):
            click.echo(f"  {line}")
    if found.cached:
        click.echo(_from_cache(found) + (" (--fresh measures again)" if found.files > 1 else ""))
    click.echo(f"{units.duration(took)} on runner {runner!r}")


def _from_cache(found: Survey) -> str:
    text = f"{units.count(found.cached)} of {units.count(found.files)} from the cache"
    rest = found.files - found.cached - len(found.failures)
    if found.failures and not rest:
        text += "; failures are never cached, those files were tried again"
    return text


def _groups(found: Survey) -> list[summary.Failures]:
    return summary.of_errors("measure", ((f.item, f.type, f.message) for f in found.failures))


def _report(found: Survey, took: float, runner: str, state: Any, path: str) -> str:
    from anabranch.display.report import Page

    ranking: Ranking = found.ranking
    page = Page(
        "The standard library, surveyed",
        f"Python {platform.python_version()}: {units.count(found.files)} files, {units.count(ranking.lines)} lines",
    )
    page.facts(_facts(found, took, runner, state), "This run")
    page.table(
        "Hardest files to read",
        ["rank", "score", "file", "longest function", "its lines", "branches"],
        [(i, s.score, s.path, s.longest or "-", s.longest_lines, s.branches) for i, s in enumerate(ranking.top, 1)],
    )
    page.histogram("Lines per file", ranking.sizes, "lines", "files")
    longest = [(f"{s.longest} ({_short(s.path)})", s.longest_lines) for s in ranking.longest if s.longest]
    page.bars("Longest functions", longest, "lines")
    page.bars("Failures by type", sorted(Counter(f.type for f in found.failures).items()), "files")
    page.table(
        "Failures", ["files", "type", "message", "first file"],
        [(g.count, g.type, g.message, found.failures[_at(found, g.first)].path) for g in _groups(found)],
    )  # fmt: skip
    return str(page.write(path))


def _facts(found: Survey, took: float, runner: str, state: Any) -> list[tuple[str, object]]:
    ranking = found.ranking
    return [
        ("state", state.name),
        ("runner", runner),
        ("took", units.duration(took)),
        ("files", units.count(found.files)),
        ("measured", units.count(ranking.files)),
        ("failed", units.count(len(found.failures))),
        ("from the cache", units.count(found.cached)),
        ("tokens", units.count(ranking.tokens)),
        ("functions", units.count(ranking.functions)),
        ("branches", units.count(ranking.branches)),
        ("imports", units.count(ranking.imports)),
        ("machine", f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs"
         if hasattr(os, "sched_getaffinity") else platform.system()),
        ("made", time.strftime("%Y-%m-%d %H:%M:%S %Z")),
    ]  # fmt: skip


def _at(found: Survey, index: int) -> int:
    return next(i for i, f in enumerate(found.failures) if f.item == index)


def _short(path: str, width: int = 32) -> str:
    return path if len(path) <= width else "..." + path[-width + 3 :]
