"""`anabranch bench`: how quick anabranch is on this machine or cluster, beside the raw engine."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import anabranch
from anabranch.bench import contest, ours, places, plot
from anabranch.cli import tables
from anabranch.display import units

if TYPE_CHECKING:
    from anabranch.bench.contest import Cell, Outcome, Row
    from anabranch.bench.places import Place


@click.command("bench")
@click.option(
    "--runner", type=click.Choice(places.RUNNERS), default="process", show_default=True, help="Where tasks execute."
)
@click.option("--address", help="Of a Dask scheduler or a Ray that runs; without it one is started on this machine.")
@click.option("--workers", type=click.IntRange(min=1), help="How many; as many as processors unless given.")
@click.option(
    "--seconds", type=click.FloatRange(1, 60), default=40.0, show_default=True,
    help="How long to measure, beside the start of an engine.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every sample.")
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture: .png, .svg or .pdf."
)
def command(
    runner: str, address: str | None, workers: int | None, seconds: float, as_json: bool, picture: Path | None
) -> None:
    """Measure maps, submits and latency beside the raw engine, in rounds of both in turn.

    The record is on, in a folder of its own that is deleted at the end. Results are checked.
    """
    _check(runner, address, workers, picture)
    with places.opened(runner, address, workers) as place, ours.own_record():
        outcome = contest.run(place, seconds, lambda text: click.echo(text, err=True) if sys.stderr.isatty() else None)
    if as_json:
        tables.dump(_plain(place, outcome))
    else:
        _print(place, outcome)
    if picture is not None:
        plot.draw(outcome, place, {row.name: _two_lines(row, outcome) for row in contest.ROWS}, picture)
        click.echo(f"picture: {picture}", err=True)


def _check(runner: str, address: str | None, workers: int | None, picture: Path | None) -> None:
    """Refuse what cannot be done, before a minute is spent."""
    if address and runner not in ("dask", "ray"):
        raise click.UsageError(f"--address is for --runner dask or ray, not {runner}")
    if address and workers:
        raise click.UsageError("--workers is for an engine that is started here; the one at --address has its own")
    if picture is not None:
        formats = plot.pyplot().gcf().canvas.get_supported_filetypes()
        if picture.suffix.lstrip(".") not in formats:
            raise click.UsageError(f"--plot {picture}: must end in .png, .svg or .pdf")
        if not picture.absolute().parent.is_dir():
            raise click.UsageError(f"--plot {picture}: there is no folder {picture.absolute().parent}")


def _print(place: Place, outcome: Outcome) -> None:
    versions = f"Python {platform.python_version()}, anabranch {anabranch.__version__}"
    click.echo(f"{place.kind}, {place.workers} workers; {versions}{place.engine and f', {place.engine}'}\n")
    tables.show(
        ["what", "anabranch", place.raw, "times better"],
        [
            (_what(row, outcome), *(_text(row, cell) for cell in outcome.cells[row.name]), f"{outcome.ratio(row):.2f}")
            for row in contest.ROWS
        ],
        right=["times better"],
    )  # fmt: skip
    best, worst = min(outcome.calibration), max(outcome.calibration)
    click.echo(
        f"\nMedians of {outcome.rounds} round{'s' * (outcome.rounds > 1)} in {outcome.seconds:.0f} s, in brackets "
        "the lowest and the highest. "
        "The record was on."
    )
    smaller = [f"{row.text.format(n=units.count(n))}" for row in contest.ROWS if (n := _peers_own(row, outcome))]
    if smaller:
        click.echo(f"{place.raw} did less of it: {'; '.join(smaller)}.")
    click.echo(f"A fixed loop took {best * 1e3:.0f} to {worst * 1e3:.0f} ms beside the turns.")
    if outcome.busy > contest.BUSY:
        click.echo(f"So the machine was busy, or its clock changed: figures may be {outcome.busy:.1f} times off.")
    if outcome.rounds < 3:
        click.echo("That is too few rounds to trust a difference: --seconds 60 gives more.")


def _what(row: Row, outcome: Outcome) -> str:
    return row.text.format(n=units.count(outcome.cells[row.name][0].n))


def _peers_own(row: Row, outcome: Outcome) -> int:
    """Return how much the peer did of a row, if that was not as much as we did."""
    mine, other = outcome.cells[row.name]
    return other.n if other.n != mine.n and "{n}" in row.text else 0


def _two_lines(row: Row, outcome: Outcome) -> str:
    mine, other = (_figure(row, cell.median) for cell in outcome.cells[row.name])
    return f"{_what(row, outcome)}\n{mine} against {other}"


def _text(row: Row, cell: Cell) -> str:
    low, high = min(cell.samples), max(cell.samples)
    return f"{_figure(row, cell.median)} ({_figure(row, low)} to {_figure(row, high)})"


def _figure(row: Row, value: float) -> str:
    if row.unit == "us":
        return f"{value:,.0f} us"
    if row.unit == "%":
        return f"{value:.1f} %"
    return f"{value / 1e3:,.1f}k/s" if value >= 1e4 else f"{value:,.0f}/s"


def _plain(place: Place, outcome: Outcome) -> dict[str, Any]:
    def side(cell: Cell) -> dict[str, Any]:
        return {"n": cell.n, "median": cell.median, "samples": cell.samples}

    return {
        "version": 1,
        "runner": place.kind,
        "workers": place.workers,
        "peer": place.raw,
        "engine": place.engine,
        "anabranch": anabranch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "rounds": outcome.rounds,
        "seconds": outcome.seconds,
        "calibration_seconds": outcome.calibration,
        "rows": [
            {
                "name": row.name, "what": _what(row, outcome), "unit": row.unit, "rising": row.rising,
                "ours": side(outcome.cells[row.name][0]), "peer": side(outcome.cells[row.name][1]),
                "times_better": outcome.ratio(row),
            }
            for row in contest.ROWS
        ],
    }  # fmt: skip
