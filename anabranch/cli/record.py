"""The record, opened for reading: it is not made where there is none."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from anabranch import settings
from anabranch.core.errors import LaunchError
from anabranch.core.states import NAMES
from anabranch.display import units

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow, LogRow, Records
    from anabranch.records.recorder import Recorder
    from anabranch.records.remote import RemoteRecords
    from anabranch.records.union import UnionRecords


HOME_HELP = "A folder with a record and results, such as ANABRANCH_HOME of another machine."


def use_home(ctx: click.Context, param: click.Parameter, home: str | None) -> str | None:
    """Handle the option --home: the folder of record and stored values."""
    if home is not None:
        os.environ["ANABRANCH_HOME"] = home
        for name in ("ANABRANCH_RECORDS", "ANABRANCH_RESULTS"):
            os.environ.pop(name, None)
    return home


@contextlib.contextmanager
def opened(*, marking: bool = True, make: bool = False) -> Iterator[Recorder | UnionRecords | RemoteRecords | None]:
    """Open the program's record, and end the runs of dead drivers and of ended jobs.

    Gives None when there is no record, unless to `make` it.
    """
    from anabranch.records import open_records, recorded

    chosen = settings.load()
    where, shared = chosen.records_place, chosen.records_shared
    if not (make or recorded(where, shared=shared)):
        yield None
        return
    days, key = chosen.retention_days, chosen.api_key
    records = open_records(where, shared=shared, retention_days=days, home=chosen.home, api_key=key)
    try:
        if marking:
            _settle(records, chosen.home)
            records.mark_dead()
        yield records
    finally:
        records.close()


def _settle(records: Records, home: Path) -> None:
    """End the runs that ended jobs have left; a queue that does not answer is told, and the record is shown."""
    if not (home / "jobs").is_dir():
        return
    from anabranch.cli import jobs

    try:
        jobs.settle(records, home, time.time())
    except LaunchError as error:
        click.echo(f"Warning: {error}", err=True)


@contextlib.contextmanager
def opened_run(wanted: str) -> Iterator[tuple[Records, FlowRunRow]]:
    """Open the record and find the one run named by `wanted` (id, start of an id, or name)."""
    with opened() as records:
        row = records.flow_run(wanted) if records is not None else None
        if records is None or row is None:
            raise click.ClickException(f"no flow run {wanted!r} in the record; `anabranch runs` lists them")
        yield records, row


def state_of(row: FlowRunRow) -> str:
    return row.state_name or NAMES[row.state][0]


def when(seconds: float | None) -> str:
    """Return a time in the user's time zone."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def lately(seconds: float | None, now: float) -> str:
    """Return a time for a narrow column: of today without the date, of other days without seconds."""
    whole = when(seconds)
    return whole[11:] if whole[:10] == when(now)[:10] else whole[:16]


def log_line(line: LogRow) -> str:
    """Return a line of a run's log as it is printed."""
    clock = f"{when(line.when)}.{int(line.when * 1000) % 1000:03}"
    return f"{clock} | {logging.getLevelName(line.level):<7} | {line.logger} - {line.message}"


def took(row: FlowRunRow) -> str:
    if row.started is None or row.ended is None:
        return ""
    return units.duration(row.ended - row.started)


def plain(row: FlowRunRow) -> dict[str, object]:
    """Return a flow run for JSON: the state by name, parameters as values."""
    found: dict[str, object] = asdict(row)
    found["state"] = state_of(row)
    del found["state_name"]
    with contextlib.suppress(ValueError):
        found["parameters"] = json.loads(row.parameters or "{}")
    return found
