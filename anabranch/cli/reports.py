"""`anabranch run show RUN --html FILE`: the report of a run, or of a moment of it, written as one file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from anabranch.diagnosis.reports import write_page
from anabranch.display import moments, run_figures, run_report, units

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow, Records


def write(records: Records, run: FlowRunRow, target: Path, between: tuple[float, float] | None) -> None:
    """Write the report, or the page of what ran `between` two times of the run, and say where it is."""
    if between is not None and not 0 <= between[0] < between[1]:
        raise click.BadParameter("the first time must be 0 or more, and before the second", param_hint="--between")
    now = time.time()
    page = (
        run_report.page(run_figures.gather(records, run, now)) if between is None else
        moments.page(moments.gather(records, run, *between, now))
    )  # fmt: skip
    try:
        write_page(page, target)
    except OSError as error:
        raise click.ClickException(f"the report cannot be written to {target}: {error.strerror}") from error
    click.echo(f"{target} ({units.size(target.stat().st_size)}): open it in a browser")
