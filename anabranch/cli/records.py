"""`anabranch records check|compact|export|push`."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING

import click

from anabranch import settings
from anabranch.cli import jobs, record, tables
from anabranch.display import units

if TYPE_CHECKING:
    from anabranch.core.runs import FlowRunRow, Records

DAY = 86_400
EVERYTHING = 1 << 31


@click.group("records")
def command() -> None:
    """Check, compact or export the record of runs; send what waits for a server."""


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check(as_json: bool) -> None:
    """Check the record; exit code 1 when it is damaged."""
    from anabranch.core.errors import RecordsError

    problems: list[dict[str, str]] = []
    try:
        with record.opened(marking=False) as records:
            if records is not None:
                problems = [problem._asdict() for problem in records.check()]
    except RecordsError as error:
        problems = [{"where": "the record", "what": str(error)}]
    if as_json:
        tables.dump(problems)
    elif problems:
        for problem in problems:
            click.echo(f"{problem['where']}: {problem['what']}")
    else:
        click.echo("nothing is wrong with the record")
    if problems:
        raise SystemExit(1)


@command.command("compact")
@click.option("--blocks", is_flag=True, help="Delete what these runs left in the result store, too.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def compact(blocks: bool, as_json: bool) -> None:
    """Delete runs older than the setting retention_days, and make the record as small as possible.

    The folders of jobs without a run in this record go too, once nothing in them has changed for that long.
    Programs that record meanwhile wait until it is done, and lose nothing.
    """
    chosen = settings.load()
    before = time.time() - chosen.retention_days * DAY if chosen.retention_days else None
    with record.opened() as records:
        if records is None:
            raise click.ClickException("nothing was ever recorded")
        if blocks and before is not None:
            _drop_blocks(chosen, records.old_places(before))  # first: afterwards their places are not known
        done = records.compact(before)
        if before is not None:
            jobs.tidy(records, chosen.home, before)
    if as_json:
        tables.dump(done._asdict())
        return
    days = chosen.retention_days
    gone = f"{done.runs} runs older than {days:g} days deleted; " if days else "no run is ever too old; "
    click.echo(f"{gone}{units.size(done.before)} before, {units.size(done.after)} now")


def _drop_blocks(chosen: settings.Settings, places: list[str]) -> None:
    from anabranch.session import make_store

    found = make_store(chosen).blocks
    if found is not None:
        found.drop(places)


@command.command("export")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=False))
@click.argument("runs", nargs=-1)
def export(file: IO[str], runs: tuple[str, ...]) -> None:
    """Write the records of RUNS (of all runs, if none is given) to FILE as lines of JSON; - is the terminal.

    Each line has a field "row" with its kind: flow_run, map, item, transition, stored or log.
    """
    from anabranch.records.upkeep import exported

    with record.opened() as records:
        found = [] if records is None else _chosen(records, runs)
        if records is None and runs:
            raise click.ClickException("nothing was ever recorded")
        lines = 0
        if records is not None:
            for line in exported(records, found):
                file.write(line + "\n")
                lines += 1
    click.echo(f"{len(found)} run{'s' * (len(found) != 1)}, {lines} lines", err=True)


def _chosen(records: Records, wanted: tuple[str, ...]) -> list[FlowRunRow]:
    if not wanted:
        return records.flow_runs(limit=EVERYTHING)
    found = []
    for text in wanted:
        row = records.flow_run(text)
        if row is None:
            raise click.ClickException(f"no flow run {text!r} in the record; `anabranch runs` lists them")
        found.append(row)
    return found


@command.command("push")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def push(as_json: bool) -> None:
    """Send the rows that programs could not send to their server before their end; exit code 1 when some are left.

    Programs do so by themselves as soon as they record to the same server.
    """
    from anabranch.core.clock import SYSTEM
    from anabranch.core.errors import AnabranchError
    from anabranch.records import outbox
    from anabranch.records.http import HttpServer

    chosen = settings.load()
    sent, troubles = 0, []
    for path in outbox.Outbox(chosen.home / "outbox").waiting():
        where = outbox.server_of(path)
        key = chosen.api_key if where == chosen.records.rstrip("/") else ""  # it is for that server alone
        try:
            for _ in outbox.push(path, HttpServer(where, key), SYSTEM):
                sent += 1
        except (AnabranchError, OSError) as error:
            troubles.append(str(error))
        else:
            if path.exists():
                troubles.append(f"{path} is being sent by another program")
    if as_json:
        tables.dump({"frames": sent, "troubles": troubles})
    else:
        click.echo(f"{sent} frame{'s' * (sent != 1)} sent" if sent or troubles else "nothing waits")
        for trouble in dict.fromkeys(troubles):
            click.echo(trouble, err=True)
    if troubles:
        raise SystemExit(1)
