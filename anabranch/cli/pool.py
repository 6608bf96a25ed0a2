"""`anabranch pool`: places where runs of deployments wait for agents."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from anabranch.cli import service_names, services, tables
from anabranch.core.orders import Pool
from anabranch.core.picking import RECENT

if TYPE_CHECKING:
    from anabranch.core.orders import Agent
    from anabranch.core.service import Service


@click.group("pool")
def command() -> None:
    """See and change pools: places where runs of deployments wait for agents."""


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(as_json: bool) -> None:
    """List the pools, with their agents."""
    pools = services.current().pools.all()
    if as_json:
        tables.dump_some("pools", services.plain(pools), len(pools))
        return
    agents = _recent(services.current())
    rows = [(one.name, one.kind, services.any_number(one.slots), _in(agents, one.name), _state(one)) for one in pools]
    tables.show(["pool", "kind", "slots", "agents", ""], rows, right=["slots", "agents"])


@command.command("create")
@click.argument("name")
@click.option("--kind", default="process", show_default=True, help="Where its agents start runs: process, slurm, ...")
@click.option("--slots", metavar="N", help='Runs at once; "none" for any number.')
@click.option("--set", "given", metavar="NAME=VALUE", multiple=True, help="A variable of the jobs, with its default.")
@click.option("--description", default="", help="What it is for.")
def create(name: str, kind: str, slots: str | None, given: tuple[str, ...], description: str) -> None:
    """Make a pool."""
    from anabranch.serving import kinds

    service = services.current()
    if name in [one.name for one in service.pools.all()]:
        raise click.ClickException(f"there is a pool {name!r} already; `anabranch pool show {name}` shows it")
    kinds.kind_of(kind)
    pool = Pool(name, kind, services.variables(given), services.slots(slots), description=description)
    service.pools.put(pool)
    click.echo(f"pool {name} is made; `anabranch agent start --pool {name}` starts an agent for it")


@command.command("show")
@click.argument("name", shell_complete=service_names.pools)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(name: str, as_json: bool) -> None:
    """Show a pool, its queues, its agents, and how many runs wait."""
    service = services.current()
    pool = services.pool(service, name)
    queues = service.pools.queues(name)
    agents = [agent for agent in _recent(service) if agent.pool == name]
    waiting = len(service.orders.all(pool=name))
    if as_json:
        parts = {"queues": services.plain(queues), "agents": services.plain(agents), "open": waiting}
        tables.dump({**services.plain([pool])[0], **parts})
        return
    many = "any number" if pool.slots is None else str(pool.slots)
    click.echo(f"{name}: {pool.kind}, {many} of runs at once, {waiting} not done{_comma(_state(pool))}")
    if pool.description:
        click.echo(pool.description)
    for variable, value in sorted(pool.template.items()):
        click.echo(f"  {variable}={json.dumps(value, ensure_ascii=False)}")
    tables.show(
        ["queue", "priority", "slots", ""],
        [(q.name, q.priority, services.any_number(q.slots), "paused" if q.paused else "") for q in queues],
        right=["priority", "slots"],
    )
    if agents:
        rows = [(agent.name, agent.host, " ".join(agent.labels), agent.held, agent.capacity) for agent in agents]
        tables.show(["agent", "host", "labels", "runs", "at most"], rows, right=["runs", "at most"])


@command.command("pause")
@click.argument("name", shell_complete=service_names.pools)
def pause(name: str) -> None:
    """Let the runs of a pool wait; those that have begun go on."""
    change(name, paused=True)
    click.echo(f"pool {name} is paused; `anabranch pool resume {name}` lets its runs go on")


@command.command("resume")
@click.argument("name", shell_complete=service_names.pools)
def resume(name: str) -> None:
    """Let agents take the runs of a pool again."""
    change(name, paused=False)
    click.echo(f"pool {name} goes on")


@command.command("set-slots")
@click.argument("name", shell_complete=service_names.pools)
@click.argument("slots", metavar="N|none")
def set_slots(name: str, slots: str) -> None:
    """Set how many runs of a pool there may be at once; runs above that end as they would."""
    change(name, slots=services.slots(slots))
    click.echo(f"pool {name}: {slots.lower()} at once" if slots.lower() != "none" else f"pool {name}: any number")


@command.command("delete")
@click.argument("name", shell_complete=service_names.pools)
def delete(name: str) -> None:
    """Delete a pool that nothing uses, with its queues."""
    service = services.current()
    services.pool(service, name)
    service.pools.delete(name)
    click.echo(f"pool {name} is deleted")


def change(name: str, **options: object) -> None:
    """Change a pool, or end the command where there is none."""
    service = services.current()
    service.pools.put(replace(services.pool(service, name), **options))  # type: ignore[arg-type]


def _recent(service: Service) -> list[Agent]:
    now = service.upkeep.now()
    return [agent for agent in service.claims.agents() if agent.seen > now - RECENT]


def _in(agents: list[Agent], pool: str) -> int:
    return sum(agent.pool == pool for agent in agents)


def _state(pool: Pool) -> str:
    return "paused" if pool.paused else ""


def _comma(text: str) -> str:
    return f", {text}" if text else ""
