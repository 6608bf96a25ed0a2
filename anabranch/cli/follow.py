"""`anabranch run logs -f RUN`: the lines of a run as they come, until it has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from anabranch import settings
from anabranch.cli import jobs, pod_jobs, record
from anabranch.core.errors import LaunchError
from anabranch.core.states import is_final
from anabranch.launch import script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow, LogRow, Records

EVERY = 0.5  # seconds between two looks
_NEWEST = 1000  # lines of a run that are printed before it is followed


def follow(run: str, level: int) -> None:
    """Print the lines of a run until it has ended.

    Of a submitted run all that its job prints, whatever its level; on a network file system some seconds late.
    """
    home = settings.load().home
    with record.opened_run(run) as (records, row):
        found = jobs.of_run(home, row)
        over = False
        lines = lines_of(found, lambda: over) if found else new_rows(records, row, level)
        said = ""
        try:
            while True:
                now = records.flow_run(row.id) or row
                over = is_final(now.state)  # asked before the lines: what is written before the end is printed
                for line in next(lines):
                    click.echo(line)
                if over and not (found and _goes_on(home, now, found)):
                    return
                if found and now.job and (words := jobs.looked(home, now, found)) != said:
                    said = words
                    click.echo(f"job {said}", err=True)
                if found and (now.job or found.file.kind == "kubernetes"):  # such a job is started again by a look
                    _settle(records, home)
                time.sleep(EVERY)
        except KeyboardInterrupt:
            return


def _goes_on(home: Path, row: FlowRunRow, found: jobs.Submitted) -> bool:
    """Return whether an ended run may start once more; where the queue does not answer, it may."""
    try:
        return jobs.goes_on(home, row, found)
    except LaunchError:
        return True


def _settle(records: Records, home: Path) -> None:
    try:
        jobs.settle(records, home, time.time())
    except LaunchError:  # the next turn asks again
        pass


def lines_of(found: jobs.Submitted, over: Callable[[], bool]) -> Iterator[list[str]]:
    """Yield the lines of a job that have come since the last time; a pod's from its cluster, unless they are kept."""
    kept = found.folder / script.LOG
    if found.reference is None or found.reference.kind != "kubernetes" or (kept.exists() and kept.stat().st_size):
        return new_lines(found.folder)
    return pod_jobs.new_lines(jobs.kubernetes(), found.folder, over)


def new_lines(folder: Path) -> Iterator[list[str]]:
    """Yield the lines that have been added to a job's log since the last time; the last one once it is whole."""
    read, rest = 0, b""
    while True:
        try:
            with open(folder / script.LOG, "rb") as file:  # opened anew: a network file system shows its growth then
                file.seek(read)
                added = file.read()
        except FileNotFoundError:
            added = b""
        read += len(added)
        *whole, rest = (rest + added).split(b"\n")
        yield [line.decode("utf-8", "replace") for line in whole]


def new_rows(records: Records, row: FlowRunRow, level: int) -> Iterator[list[str]]:
    """Yield the lines of a run that have been recorded since the last time."""
    printed = 0
    while True:
        total = records.count_logs(row.id, level=level)
        rows: list[LogRow] = []
        if total > printed:
            rows = records.logs(row.id, limit=total - printed if printed else _NEWEST, level=level)
        printed = total
        yield [record.log_line(line) for line in rows]
