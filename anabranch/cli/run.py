"""`anabranch run TARGET` runs a flow; `anabranch run show|logs|cancel RUN` looks at a recorded one."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch import settings
from anabranch.cli import on_cluster, record, tables
from anabranch.cli.run_names import RUN
from anabranch.core import secrets
from anabranch.core.processes import machine_of
from anabranch.core.runs import CODE
from anabranch.core.states import is_final
from anabranch.display import summary, units
from anabranch.display.watch.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anabranch.cli.jobs import Submitted
    from anabranch.core.runs import FlowRunRow, MapRow, Records

EXECUTE = "FILE|MODULE[:FLOW]"


class RunGroup(click.Group):
    """A group that takes a first word which is no command as a file to run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [EXECUTE, *args]
        return super().parse_args(ctx, args)


@click.group("run", cls=RunGroup, subcommand_metavar=f"{EXECUTE} [-p NAME=VALUE]... | show | logs | cancel  RUN")
def command() -> None:
    """Run a flow from a file or a module; show, follow or cancel a recorded run.

    `anabranch run survey.py:survey -p folder=src` runs the flow `survey` of survey.py, `anabranch run pkg.flows:survey`
    that of the module pkg.flows, found from the working folder as by `python -m`; the name may be left out where there
    is one flow. A file called like a command is written ./show. RUN is a run's name, its id, or the start of
    the id.
    """


@command.command(EXECUTE, short_help="Run a flow; exit code 1 when it failed, 130, 143 or 75 when told to end.")
@click.argument("target", metavar=EXECUTE)
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; JSON, else text.")
@click.option("--runner", help="Run on this runner instead of the flow's own: thread, process, inline, dask, ray.")
@click.option("--cluster", metavar="NAME", help="Run there: a name, kubernetes, kubernetes:NAME, ray:NAME.")
@click.option("--image", default="", help="Of pods that are made for this run (--cluster kubernetes).")
@click.option("--jobs", default="0..4", show_default=True, metavar="N|MIN..MAX", help="How many of these pods.")
def execute(
    target: str, params: tuple[str, ...], runner: str | None, cluster: str | None, image: str, jobs: str
) -> None:
    """Run a flow from a file or a module.

    Exit code: 0 completed, 1 failed, crashed or cancelled, 2 bad arguments, 130 after Ctrl-C, 143 after SIGTERM,
    75 when it was suspended (SIGUSR1: the walltime is near).
    """
    from anabranch.cli import load

    flow = load.flow_of(target)
    given = load.parameters(flow, params)
    if flow.options.resumable is None:
        flow = flow.with_options(resumable=True)
    if runner and cluster:
        raise click.UsageError("--runner and --cluster both say where tasks run: give one of them")
    with on_cluster.opened(cluster, image, jobs) if cluster else contextlib.nullcontext(runner) as there:
        chosen = flow.with_options(runner=there) if there else flow
        to_its_end(chosen, lambda: chosen(**given, return_state=True))


def to_its_end(flow: Any, start: Callable[[], Any]) -> None:
    """Run a flow, async or not, and exit with the code of its final state."""
    try:
        state = run_to_state(flow, start)
    except SystemExit as end:  # under Prefect's names it is an interrupt as well, which click makes exit code 1 of
        sys.exit(end.code)
    except KeyboardInterrupt:
        sys.exit(130)
    if not state.is_completed():
        click.echo(f"Error: flow {flow.name!r} ended as {state.name}: {_reason(state)}", err=True)
        sys.exit(1)


def run_to_state(flow: Any, start: Callable[[], Any]) -> Any:
    """Start a run of a flow, async or not, and return its final state."""
    if not flow.isasync:
        return start()
    import asyncio

    return asyncio.run(start())


def _reason(state: Any) -> str:
    error = state.exception()
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return secrets.mask(state.message if state.message and str(error) in state.message else text)


@command.command("show")
@click.argument("run", type=RUN)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report to this file instead.")
@click.option("--between", nargs=2, type=float, metavar="FROM TO",
              help="With --html: each item that ran between these seconds of the run.")  # fmt: skip
def show(run: str, as_json: bool, html: Path | None, between: tuple[float, float] | None) -> None:
    """Show a recorded run: its state, its maps and task runs, its failures in groups.

    With --html its report becomes one file that any browser opens: timeline, where the time went, what reads what, the
    states and durations of each map, failures with their tracebacks, memory. A run of many items is drawn in cells of
    time; --between draws each item of a moment.
    """
    if between is not None and html is None:
        raise click.UsageError("--between is for a page: give --html FILE too")
    with record.opened_run(run) as (records, row):
        if html is not None:
            from anabranch.cli import reports

            reports.write(records, row, html, between)
            return
        if as_json:
            tables.dump(_details(records, row))
            return
        _print_run(records, row)


def _details(records: Records, row: FlowRunRow) -> dict[str, Any]:
    return {
        **record.plain(row),
        "seed": _stored_name(records, row, "seed"),
        "code": _stored_name(records, row, CODE),
        "maps": [asdict(map) for map in records.maps(row.id)],
        "failures": [asdict(group) for group in summary.of_records(records, row.id)],
        "failed": sum(times for *_, times, _ in records.failed(row.id)),
        "transitions": [
            {"state": t.state_name, "when": t.when, "attempt": t.attempt, "message": t.message}
            for t in records.transitions(row.id)
        ],
    }


def _stored_name(records: Records, row: FlowRunRow, kind: str) -> str:
    """Return the seed of the run's random numbers, or the digest of its code; "" where it has none of its own."""
    found = records.stored(row.id, kind)
    return found[0].name if found else ""


def _print_run(records: Records, row: FlowRunRow) -> None:
    from anabranch.cli import jobs

    submitted = jobs.of_run(settings.load().home, row)
    facts = [
        ("run", f"{row.name}  ({row.id})"),
        ("flow", row.flow + (f"  version {row.version}" if row.version else "")),
        ("state", record.state_of(row) + (f": {row.message}" if row.message else "")),
        ("started", record.when(row.started or row.created)),
        ("took", record.took(row)),
        ("attempts", str(row.attempt) if row.attempt > 1 else ""),
        ("runner", row.runner),
        ("driver", f"process {row.pid} on {machine_of(row.host)}" if row.pid else ""),
        ("job", _job(row, submitted) if submitted else ""),
        ("pilots", _pilots(row, submitted) if submitted else ""),
        ("tags", ", ".join(row.tags)),
        ("parameters", _parameters(row)),
        ("seed", _stored_name(records, row, "seed")),
        ("code", _stored_name(records, row, CODE)),
        ("parent", row.parent_run),
    ]
    for name, value in facts:
        if value:
            click.echo(f"{name:<11} {value}")
    maps = [map for map in records.maps(row.id) if not map.superseded]
    if maps:
        click.echo("")
        tables.show(
            ["task", "kind", "runs", "states", "took"],
            [
                (
                    map.task, map.kind, "?" if map.length is None else units.count(map.length),
                    summary.counts_line(_counts(records, map)),
                    units.duration(map.ended - map.created) if map.ended and map.created else "",
                )
                for map in maps
            ],
            right=["runs", "took"],
        )  # fmt: skip
    _print_graph(records, maps)
    failures = summary.of_records(records, row.id)
    if failures:
        click.echo("\nfailures")
        for line in summary.failure_lines(failures, task=True):
            click.echo(f"  {line}")


def _print_graph(records: Records, maps: Sequence[MapRow]) -> None:
    """Print which maps and single runs read which, where any does."""
    from anabranch.display import markup, run_nodes

    labels = run_nodes.labels_of(maps)
    told = run_nodes.lines(run_nodes.nodes_of(
        [run_nodes.Series(map, labels[map.id], map.length or 0, reads=run_nodes.reads_of(records, map)) for map in maps]
    ))  # fmt: skip
    if not any(reads for _, _, reads in told):
        return
    click.echo("")
    tables.show(["what reads what", "", "reads"], [(name, what, markup.cut(reads, 60)) for name, what, reads in told])


def _counts(records: Records, map: MapRow) -> Mapping[str, int]:
    """Return how many items of a map are in each state; of one that has not ended, those that have."""
    if map.ended is not None:
        return map.counts
    tally = Tally()
    tally.take(records.ended(map.id))
    return tally.counts()


def _job(row: FlowRunRow, found: Submitted) -> str:
    """Return what is known of the job that was submitted for a run."""
    from anabranch.cli import jobs

    named = f"{found.file.kind} {jobs.number(found.reference) if found.reference else '(not started)'}"
    seen = jobs.looked(settings.load().home, row, found)
    return f"{named}{f': {seen}' if seen else ''}\n{'':<11} {found.folder}"


def _pilots(row: FlowRunRow, found: Submitted) -> str:
    """Return how many pilots a run has; "" where it has one job alone."""
    from anabranch.cli import pilots

    if found.file.pilots < 2:
        return ""
    known = pilots.there(found.folder) if not is_final(row.state) else None
    if known is None:
        return f"{found.file.pilots} asked for"
    waits = "".join(f"\n{'':<11} {number} waits: {why or 'pending'}" for number, why in known.waits.items())
    return f"{known.there} of {known.of} are there{waits}"


def _parameters(row: FlowRunRow) -> str:
    try:
        found = json.loads(row.parameters or "{}")
    except ValueError:
        return row.parameters
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in found.items())


@command.command("logs")
@click.argument("run", type=RUN)
@click.option("--level", default="DEBUG", show_default=True, help="Lines from this level on.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(min=1),
              help="Show at most this many lines.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Until the run ends; of a submitted run, all its job prints.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def logs(run: str, level: str, limit: int, follow: bool, as_json: bool) -> None:
    """Print the log lines of a recorded run."""
    if follow:
        from anabranch.cli import follow as following

        following.follow(run, _level(level))
        return
    number = _level(level)
    with record.opened_run(run) as (records, row):
        lines = records.logs(row.id, limit=limit, level=number)
        total = len(lines) if len(lines) < limit else records.count_logs(row.id, level=number)
    if as_json:
        told = [{**asdict(line), "level": logging.getLevelName(line.level)} for line in lines]
        tables.dump_some("lines", told, total)
        return
    for line in lines:
        click.echo(record.log_line(line))
    tables.tell_rest(f"the last {units.count(len(lines))} of {units.count(total)} lines", len(lines) < total)


def _level(name: str) -> int:
    number = logging.getLevelNamesMapping().get(name.upper())
    if number is None:
        known = "DEBUG, INFO, WARNING, ERROR or CRITICAL"
        raise click.BadParameter(f"{name!r} is not a level: {known}", param_hint="--level")
    return number


@command.command("cancel")
@click.argument("run", type=RUN)
def cancel(run: str) -> None:
    """Ask a running flow to stop; its driver notices within a second. The job of one that waits is cancelled."""
    from anabranch.cli import cancelling

    with record.opened_run(run) as (records, row):
        click.echo(cancelling.cancelled(records, settings.load().home, row))
