"""The record, opened to look at: nothing is made where nothing was recorded."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from anabranch import settings
from anabranch.core.states import NAMES
from anabranch.display import units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.runs import FlowRunRow, Records


@contextlib.contextmanager
def opened() -> Iterator[Records | None]:
    """The program's record, runs of dead drivers marked; None when nothing was ever recorded."""
    from anabranch.records.sqlite import SqliteRecords

    path = settings.load().records_path
    if not path.exists():
        yield None
        return
    records = SqliteRecords(path)
    try:
        records.mark_dead()
        yield records
    finally:
        records.close()


@contextlib.contextmanager
def opened_run(wanted: str) -> Iterator[tuple[Records, FlowRunRow]]:
    """The record and the one run that `wanted` (id, start of an id, or name) means."""
    with opened() as records:
        row = records.flow_run(wanted) if records is not None else None
        if records is None or row is None:
            raise click.ClickException(f"no flow run {wanted!r} in the record; `anabranch runs` lists them")
        yield records, row


def state_of(row: FlowRunRow) -> str:
    return row.state_name or NAMES[row.state][0]


def when(seconds: float | None) -> str:
    """A time of day as the user's clock shows it."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def took(row: FlowRunRow) -> str:
    if row.started is None or row.ended is None:
        return ""
    return units.duration(row.ended - row.started)


def plain(row: FlowRunRow) -> dict[str, object]:
    """A flow run as JSON shows it: the state by name, parameters as values."""
    found: dict[str, object] = asdict(row)
    found["state"] = state_of(row)
    del found["state_name"]
    with contextlib.suppress(ValueError):
        found["parameters"] = json.loads(row.parameters or "{}")
    return found
