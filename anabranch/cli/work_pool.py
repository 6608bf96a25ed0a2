"""`anabranch work-pool` and `anabranch work-queue`: pools and queues as Prefect 3 spells them."""

from __future__ import annotations

from typing import Any

import click

from anabranch.cli import pool, queue, service_names, services
from anabranch.core.deployments import DEFAULT


@click.group("work-pool")
def command() -> None:
    """See and change pools, as Prefect 3 spells it: `anabranch pool` does the same."""


@click.group("work-queue")
def queues() -> None:
    """See and change queues, as Prefect 3 spells it: `anabranch queue` does the same."""


# -- pools ---------------------------------------------------------------------------------------------


for _name in ("ls", "pause", "resume", "delete"):
    command.add_command(pool.command.commands[_name])
command.add_command(pool.command.commands["show"], "inspect")


@command.command("create")
@click.argument("name")
@click.option("-t", "--type", "--kind", "kind", default="process", show_default=True, help="Of its agents.")
@click.option("--paused", is_flag=True, help="Its runs wait until it is resumed.")
@click.option("--concurrency-limit", "slots", metavar="N", help="Runs at once.")
@click.option("--description", default="", help="What it is for.")
@click.option("--set-as-default", hidden=True, is_flag=True)
@click.pass_context
def create(ctx: click.Context, /, name: str, paused: bool, set_as_default: bool, **given: Any) -> None:
    """Make a pool."""
    if set_as_default:
        raise click.UsageError(f"the default pool is the one named {DEFAULT!r}; deployments name another one")
    ctx.invoke(pool.create, name=name, given=(), **given)
    if paused:
        ctx.invoke(pool.pause, name=name)


@command.command("update")
@click.argument("name", shell_complete=service_names.pools)
@click.option("--concurrency-limit", "slots", metavar="N", help="Runs at once.")
@click.option("--description", help="What it is for.")
def update(name: str, slots: str | None, description: str | None) -> None:
    """Change a pool; values that are not given stay unchanged."""
    said: dict[str, Any] = {} if slots is None else {"slots": services.slots(slots)}
    if description is not None:
        said["description"] = description
    pool.change(name, **said)
    click.echo(f"pool {name} is changed")


@command.command("set-concurrency-limit")
@click.argument("name", shell_complete=service_names.pools)
@click.argument("slots", metavar="N", type=click.IntRange(min=0))
@click.pass_context
def set_limit(ctx: click.Context, name: str, slots: int) -> None:
    """Set how many runs of a pool there may be at once."""
    ctx.invoke(pool.set_slots, name=name, slots=str(slots))


@command.command("clear-concurrency-limit")
@click.argument("name", shell_complete=service_names.pools)
@click.pass_context
def clear_limit(ctx: click.Context, name: str) -> None:
    """Let any number of runs of a pool be at once."""
    ctx.invoke(pool.set_slots, name=name, slots="none")


# -- queues --------------------------------------------------------------------------------------------

_POOL = click.option(
    "-p", "--pool", default=DEFAULT, show_default=True, help="The pool of the queue.",
    shell_complete=service_names.pools,
)


@queues.command("ls")
@_POOL
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def ls(ctx: click.Context, /, **given: Any) -> None:
    """List the queues of a pool."""
    ctx.invoke(queue.ls, **given)


@queues.command("create")
@click.argument("name")
@_POOL
@click.option("-q", "--priority", default=1, show_default=True, type=click.IntRange(min=0), help="Lower ones go first.")
@click.option("-l", "--limit", "slots", metavar="N", help="Runs at once.")
@click.pass_context
def create_queue(ctx: click.Context, /, **given: Any) -> None:
    """Make a queue of a pool."""
    ctx.invoke(queue.create, **given)


@queues.command("inspect")
@click.argument("name", shell_complete=service_names.queues)
@_POOL
def inspect(name: str, pool: str) -> None:
    """Show a queue."""
    one = queue.found(pool, name)
    many = "any number" if one.slots is None else one.slots
    click.echo(f"{name} of pool {pool}: priority {one.priority}, {many} at once{', paused' if one.paused else ''}")


def _alias(name: str, of: click.Command) -> None:
    @queues.command(name, help=of.help)
    @click.argument("name", shell_complete=service_names.queues)
    @_POOL
    @click.pass_context
    def alias(ctx: click.Context, /, **given: Any) -> None:
        ctx.invoke(of, **given)


for _name, _of in (("pause", queue.pause), ("resume", queue.resume), ("delete", queue.delete)):
    _alias(_name, _of)


@queues.command("set-concurrency-limit")
@click.argument("name", shell_complete=service_names.queues)
@click.argument("limit", metavar="N", type=click.IntRange(min=0))
@_POOL
@click.pass_context
def set_queue_limit(ctx: click.Context, name: str, limit: int, pool: str) -> None:
    """Set how many runs of a queue there may be at once."""
    ctx.invoke(queue.set_queue, pool=pool, name=name, priority=None, slots=str(limit))


@queues.command("clear-concurrency-limit")
@click.argument("name", shell_complete=service_names.queues)
@_POOL
@click.pass_context
def clear_queue_limit(ctx: click.Context, name: str, pool: str) -> None:
    """Let any number of runs of a queue be at once."""
    ctx.invoke(queue.set_queue, pool=pool, name=name, priority=None, slots="none")
