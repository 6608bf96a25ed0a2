"""What `anabranch run cancel` does to a run, and to its job."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from anabranch import settings
from anabranch.cli import jobs, record
from anabranch.core.errors import ConfigurationError
from anabranch.core.states import CANCELLED, RUNNING, is_final

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow, Records


def cancelled(records: Records, home: Path, row: FlowRunRow) -> str:
    """Ask a run to stop, and cancel the job of one that waits for it; returns what was done, in a sentence.

    Raises:
        click.ClickException: it has already ended.
        LaunchError: its job cannot be cancelled.
    """
    found = jobs.of_run(home, row)
    if is_final(row.state):
        ended = f"flow run {row.name!r} has already ended as {record.state_of(row)}"
        if found is None or not jobs.goes_on(home, row, found):
            raise click.ClickException(ended)
        jobs.cancel(found)
        return f"{ended}; its job, which would have resumed it, is cancelled"
    if row.job:
        begun = row.state == RUNNING  # in a pod with a record of its own
        if found is not None:
            jobs.cancel(found)
        if records.end(row, CANCELLED, "cancelled with its job" if begun else "cancelled before its job began it"):
            return f"flow run {row.name!r} is cancelled, and {_with_its_job(home, row, found)}"
    if (row.token or not row.pid) and _order_cancelled(row):
        return f"flow run {row.name!r} is cancelled; `anabranch run show {row.name}` tells when its driver has ended"
    if not records.request_cancel(row.id):
        raise click.ClickException(f"flow run {row.name!r} ended meanwhile")
    return f"flow run {row.name!r} is asked to stop; `anabranch run show {row.name}` tells when it has"


def _order_cancelled(row: FlowRunRow) -> bool:
    """Cancel the order of a run; False where it has none that is open."""
    from anabranch import serving

    try:
        service = serving.opened(settings.load())
    except ConfigurationError:  # a record that keeps no orders
        return False
    with contextlib.closing(service):
        return service.orders.cancel(row.id, by="`anabranch run cancel`")


def _with_its_job(home: Path, row: FlowRunRow, found: jobs.Submitted | None) -> str:
    """Return what becomes of the job of a cancelled run, in words; one that was handed over meanwhile is cancelled."""
    if found is None or found.reference is None:
        found = jobs.of_run(home, row)
        if found is None or found.reference is None:
            return "its job was not handed over yet: one that its queue takes after all ends before it begins the run"
        jobs.cancel(found)
    return "so is its job" + ("" if row.state == RUNNING else ", which had not begun it")
