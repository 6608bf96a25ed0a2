"""`anabranch run show RUN --html FILE`: the report of a run, written as one file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from anabranch.diagnosis.reports import Report
from anabranch.display import run_figures, units

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow, Records


def write(records: Records, run: FlowRunRow, target: Path) -> None:
    """Write the report, and say where it is."""
    report = Report(run_figures.gather(records, run, time.time()))
    try:
        report.write(target)
    except OSError as error:
        raise click.ClickException(f"the report cannot be written to {target}: {error.strerror}") from error
    click.echo(f"{target} ({units.size(target.stat().st_size)}): open it in a browser")
