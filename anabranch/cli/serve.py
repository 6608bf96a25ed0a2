"""`anabranch serve FILE:FLOW`: serve a deployment of a flow without a line of code."""

from __future__ import annotations

import click

from anabranch.cli import load
from anabranch.core.option_checks import parse_walltime


def _seconds(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else float(text) if text.replace(".", "", 1).isdigit() else parse_walltime(text)
    except ValueError:
        raise click.BadParameter(f"must be seconds, or as 90s, 10m, 2h, got {text!r}") from None


@click.command("serve")
@click.argument("target", metavar="FILE[:FLOW]")
@click.option("--name", help="Of the deployment; the flow's unless given.")
@click.option("--interval", callback=_seconds, metavar="TIME", help="Seconds from one run to the next; or 10m, 2h.")
@click.option("--cron", help='As "0 3 * * *".')
@click.option("--rrule", help='As "FREQ=DAILY;BYHOUR=3".')
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; JSON, else text.")
@click.option("--tag", "tags", multiple=True, help="Of its runs.")
@click.option("--limit", type=click.IntRange(min=1), help="Runs at once; one a processor, at least 4, unless given.")
@click.option("--no-pause", is_flag=True, help="Schedules do not pause when this ends.")
def command(
    target: str, name: str | None, interval: float | None, cron: str | None, rrule: str | None,
    params: tuple[str, ...], tags: tuple[str, ...], limit: int | None, no_pause: bool,
) -> None:  # fmt: skip
    """Serve a flow until Ctrl-C: its runs begin here, by a schedule and whenever they are asked for.

    As `flow.serve(...)` in the flow's file. Ctrl-C pauses its schedules and ends its runs.
    """
    flow = load.flow_of(target)
    flow.serve(
        name, interval=interval, cron=cron, rrule=rrule, parameters=load.parameters(flow, params), tags=list(tags),
        limit=limit, pause_on_shutdown=not no_pause,
    )  # fmt: skip
