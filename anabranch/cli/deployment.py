"""`anabranch deployment`: flows that are run by schedule, on demand and elsewhere."""

from __future__ import annotations

import json

import click

from anabranch.cli import deployment_files, record, schedule, service_names, services, tables


@click.group("deployment")
def command() -> None:
    """See and change deployments: flows that are run by schedule, on demand and elsewhere."""


for one in (deployment_files.run, deployment_files.export, deployment_files.apply):
    command.add_command(one)


@command.command("ls")
@click.option("--flow", default="", help="Only deployments of this flow.")
@click.option("--project", default="", help="Only deployments of this project.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(flow: str, project: str, as_json: bool) -> None:
    """List the deployments."""
    rows = services.deployments(services.current(), flow=flow, project=project)
    if as_json:
        tables.dump_some("deployments", services.plain(rows), len(rows))
    elif not rows:
        click.echo("no deployments" + (" like that" if flow or project else ""), err=True)
    else:
        tables.show(
            ["deployment", "revision", "pool", "queue", "project", "changed", ""],
            [
                (
                    row.full_name, row.revision, row.pool, row.queue, row.project, record.when(row.updated),
                    "paused" if row.paused else "",
                )
                for row in rows
            ],
            right=["revision"],
        )  # fmt: skip


@command.command("show")
@click.argument("name", metavar="FLOW/NAME", shell_complete=service_names.deployments)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(name: str, as_json: bool) -> None:
    """Show a deployment and its schedules."""
    service = services.current()
    row = services.deployment(service, name)
    schedules = service.schedules.all(row.id)
    if as_json:
        tables.dump({**services.plain([row])[0], "schedules": services.plain(schedules)})
        return
    click.echo(f"{row.full_name}: revision {row.revision}{', paused' if row.paused else ''}")
    facts = {
        "id": row.id, "pool": row.pool, "queue": row.queue, "project": row.project, "labels": " ".join(row.labels),
        "tags": " ".join(row.tags), "slots": services.any_number(row.slots), "collision": row.collision,
        "recover": row.recover, "expires after": "" if row.expire_after is None else f"{row.expire_after:g} s",
        "made": record.when(row.created), "changed": record.when(row.updated),
    }  # fmt: skip
    shown = {key: row.document[key] for key in ("entrypoint", "parameters", "storage") if row.document.get(key)}
    facts |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in shown.items()}
    for key, value in facts.items():
        if value:
            click.echo(f"  {key}: {value}")
    if schedules:
        schedule.table(schedules)


@command.command("pause")
@click.argument("name", metavar="FLOW/NAME", shell_complete=service_names.deployments)
def pause(name: str) -> None:
    """Let the runs of a deployment wait, and its schedules stand still."""
    service = services.current()
    service.deployments.pause(services.deployment(service, name).id, True)
    click.echo(f"{name} is paused; `anabranch deployment resume {name}` lets it go on")


@command.command("resume")
@click.argument("name", metavar="FLOW/NAME", shell_complete=service_names.deployments)
def resume(name: str) -> None:
    """Let a deployment go on; what its schedules have missed is not made up for."""
    service = services.current()
    service.deployments.pause(services.deployment(service, name).id, False)
    click.echo(f"{name} goes on")


@command.command("delete")
@click.argument("name", metavar="FLOW/NAME", shell_complete=service_names.deployments)
def delete(name: str) -> None:
    """Delete a deployment and its schedules, and cancel its waiting runs; runs stay in the record."""
    service = services.current()
    service.deployments.delete(services.deployment(service, name).id)
    click.echo(f"{name} is deleted")


@command.command("revisions")
@click.argument("name", metavar="FLOW/NAME", shell_complete=service_names.deployments)
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the documents.")
def revisions(name: str, as_json: bool) -> None:
    """List what a deployment has been, newest first."""
    service = services.current()
    rows = service.deployments.revisions(services.deployment(service, name).id)
    if as_json:
        tables.dump_some("revisions", services.plain(rows), len(rows))
        return
    tables.show(
        ["revision", "made", "by", "changed"],
        [
            (row.revision, record.when(row.at), row.by, " ".join(_changed(row.document, before)))
            for row, before in zip(rows, [*(one.document for one in rows[1:]), None], strict=True)
        ],
        right=["revision"],
    )


def _changed(document: dict[str, object], before: dict[str, object] | None) -> list[str]:
    """Return the keys of a document that the one before it had otherwise."""
    if before is None:
        return []
    return [key for key in sorted({*document, *before}) if document.get(key) != before.get(key)]
