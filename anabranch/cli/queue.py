"""`anabranch queue`: queues of a pool."""

from __future__ import annotations

from dataclasses import replace

import click

from anabranch.cli import service_names, services, tables
from anabranch.core.orders import Queue


@click.group("queue")
def command() -> None:
    """See and change the queues of a pool: which of its runs go first, and how many at once."""


@command.command("ls")
@click.argument("pool", default="default", shell_complete=service_names.pools)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(pool: str, as_json: bool) -> None:
    """List the queues of a pool, those served first in front."""
    service = services.current()
    services.pool(service, pool)
    queues = service.pools.queues(pool)
    if as_json:
        tables.dump_some("queues", services.plain(queues), len(queues))
        return
    tables.show(
        ["queue", "priority", "slots", ""],
        [(one.name, one.priority, services.any_number(one.slots), "paused" if one.paused else "") for one in queues],
        right=["priority", "slots"],
    )


@command.command("create")
@click.argument("pool", shell_complete=service_names.pools)
@click.argument("name")
@click.option("--priority", default=1, show_default=True, type=click.IntRange(min=0), help="Lower ones go first.")
@click.option("--slots", metavar="N", help='Runs at once; "none" for any number.')
def create(pool: str, name: str, priority: int, slots: str | None) -> None:
    """Make a queue of a pool. A deployment that names one makes it as well."""
    service = services.current()
    services.pool(service, pool)
    if name in [one.name for one in service.pools.queues(pool)]:
        raise click.ClickException(f"there is a queue {name!r} already; `anabranch queue set {pool} {name}` changes it")
    service.pools.put_queue(Queue(pool, name, priority, services.slots(slots)))
    click.echo(f"queue {name} of pool {pool} is made")


@command.command("set")
@click.argument("pool", shell_complete=service_names.pools)
@click.argument("name", shell_complete=service_names.queues)
@click.option("--priority", type=click.IntRange(min=0), help="Lower ones go first.")
@click.option("--slots", metavar="N", help='Runs at once; "none" for any number.')
def set_queue(pool: str, name: str, priority: int | None, slots: str | None) -> None:
    """Change a queue; values that are not given stay unchanged."""
    queue = found(pool, name)
    if priority is not None:
        queue = replace(queue, priority=priority)
    if slots is not None:
        queue = replace(queue, slots=services.slots(slots))
    services.current().pools.put_queue(queue)
    many = "any number" if queue.slots is None else queue.slots
    click.echo(f"queue {name} of pool {pool}: priority {queue.priority}, {many} at once")


@command.command("pause")
@click.argument("pool", shell_complete=service_names.pools)
@click.argument("name", shell_complete=service_names.queues)
def pause(pool: str, name: str) -> None:
    """Let the runs of a queue wait; those that have begun go on."""
    services.current().pools.put_queue(replace(found(pool, name), paused=True))
    click.echo(f"queue {name} of pool {pool} is paused; `anabranch queue resume {pool} {name}` lets its runs go on")


@command.command("resume")
@click.argument("pool", shell_complete=service_names.pools)
@click.argument("name", shell_complete=service_names.queues)
def resume(pool: str, name: str) -> None:
    """Let agents take the runs of a queue again."""
    services.current().pools.put_queue(replace(found(pool, name), paused=False))
    click.echo(f"queue {name} of pool {pool} goes on")


@command.command("delete")
@click.argument("pool", shell_complete=service_names.pools)
@click.argument("name", shell_complete=service_names.queues)
def delete(pool: str, name: str) -> None:
    """Delete a queue that nothing uses."""
    found(pool, name)
    services.current().pools.delete_queue(pool, name)
    click.echo(f"queue {name} of pool {pool} is deleted")


def found(pool: str, name: str) -> Queue:
    """Return a queue, or end the command where there is none."""
    service = services.current()
    services.pool(service, pool)
    queues = {one.name: one for one in service.pools.queues(pool)}
    if name not in queues:
        services.unknown("queue", name, queues, f"anabranch queue ls {pool}")
    return queues[name]
