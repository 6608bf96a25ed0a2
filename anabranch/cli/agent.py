"""`anabranch agent start|ls|install`: agents, which start drivers for the runs of deployments."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict

import click

from anabranch import serving, settings
from anabranch.cli import agent_install, service_names, tables
from anabranch.core.picking import RECENT


@click.group("agent")
def command() -> None:
    """Start, list and install agents, which start drivers for the runs of deployments."""


command.add_command(agent_install.command)


def _start(pool: str, queues: tuple[str, ...], labels: tuple[str, ...], limit: int, name: str, kind: str | None,
           once: bool, in_place: str | None, safe_to_evict: bool) -> None:  # fmt: skip
    """Be an agent until Ctrl-C or SIGTERM: claim runs of a pool, and start a driver for each.

    Drivers that run then go on without it: another agent of the pool, or this one once it is started again, adopts
    them. `anabranch run cancel NAME` ends one.
    """
    from anabranch.serving.agent import Wanted, agent_of
    from anabranch.serving.running import run

    if safe_to_evict:
        raise click.UsageError("the pods of runs are not evicted: a driver is not moved without loss")
    chosen, kind = settings.load(), kind or in_place
    service = serving.opened(chosen)
    try:
        agent = agent_of(service, chosen, Wanted(pool, queues, labels, (), limit, name, kind or "", once))
        one = agent.agent
        words = [f"pool {pool}", *(f"queue {queue}" for queue in queues), *(f"label {label}" for label in labels)]
        served = ", ".join(words)
        click.echo(f"agent {one.name} ({one.kind}) of {served}: at most {one.capacity} runs at once", err=True)
        ended_by = run(agent, service, chosen)
    finally:
        service.close()
    if ended_by == signal.SIGINT:
        sys.exit(130)


_OPTIONS = [
    agent_install.POOL,
    click.option(
        "-q", "--queue", "--work-queue", "queues", multiple=True, help="Its queues; all unless given.",
        shell_complete=service_names.queues,
    ),
    agent_install.LABELS,
    click.option("--limit", default=0, type=click.IntRange(min=0), help="Runs at once; 0: as processors, 4 or more."),
    click.option("-n", "--name", default="", help="For people; the machine's and the process's unless given."),
    click.option("--kind", "--type", "-t", "kind", help="Where its drivers run: process, slurm, pbs, kubernetes."),
    click.argument("in_place", metavar="[KIND]", required=False),
    click.option("--safe-to-evict", type=bool, default=False, hidden=True),
    click.option("--once", "--run-once", "once", is_flag=True, help="Take what waits now, and end when that has."),
]
for _option in reversed(_OPTIONS):
    _start = _option(_start)
_command = click.command("start")(_start)
command.add_command(_command)


@command.group("local")
def local() -> None:
    """Start an agent as Prefect 1 spells it: `agent local start --label gpu`."""


local.add_command(_command)


@command.command("ls")
@click.option("-p", "--pool", default="", help="Of this one alone.", shell_complete=service_names.pools)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(pool: str, as_json: bool) -> None:
    """List agents, with what they hold; one without a word for half a minute is gone."""
    service = serving.opened(settings.load())
    try:
        agents, now = service.claims.agents(pool), service.upkeep.now()
    finally:
        service.close()
    if as_json:
        tables.dump_some("agents", [{**asdict(one), "gone": now - one.seen > RECENT} for one in agents], len(agents))
        return
    if not agents:
        click.echo("no agents; `anabranch agent start` makes this terminal one")
        return
    rows = [
        (
            one.name, one.pool, one.kind, " ".join(one.labels), f"{one.held}/{one.capacity}", f"{now - one.seen:.0f} s",
            "gone" if now - one.seen > RECENT else "",
        )
        for one in agents
    ]  # fmt: skip
    tables.show(["agent", "pool", "kind", "labels", "runs", "last word", ""], rows, right=["runs", "last word"])
