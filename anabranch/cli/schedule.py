"""`anabranch schedule`: when runs of deployments are ordered."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from anabranch.cli import record, service_names, services, tables
from anabranch.services import schedule as steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.deployments import DeploymentRow, ScheduleRow
    from anabranch.core.service import Service


@click.group("schedule")
def command() -> None:
    """See, pause and delete schedules of deployments, and order runs of a time that is over."""


@command.command("ls")
@click.argument("deployment", metavar="[FLOW/NAME]", default="", shell_complete=service_names.deployments)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(deployment: str, as_json: bool) -> None:
    """List the schedules of a deployment, or of all."""
    service = services.current()
    if deployment:
        services.deployment(service, deployment)
    rows = service.schedules.all(deployment)
    if as_json:
        tables.dump_some("schedules", services.plain(rows), len(rows))
    elif not rows:
        click.echo("no schedules", err=True)
    else:
        names = {row.id: row.full_name for row in services.deployments(service)}
        table(rows, names)


@command.command("pause")
@click.argument("deployment", metavar="FLOW/NAME", shell_complete=service_names.deployments)
@click.argument("slug", required=False)
def pause(deployment: str, slug: str | None) -> None:
    """Stop a schedule; it stays stopped when its deployment is deployed again."""
    _set(deployment, slug, False)


@command.command("resume")
@click.argument("deployment", metavar="FLOW/NAME", shell_complete=service_names.deployments)
@click.argument("slug", required=False)
def resume(deployment: str, slug: str | None) -> None:
    """Let a schedule go on; what it has missed is not made up for."""
    _set(deployment, slug, True)


@command.command("delete")
@click.argument("deployment", metavar="FLOW/NAME", shell_complete=service_names.deployments)
@click.argument("slug", required=False)
def delete(deployment: str, slug: str | None) -> None:
    """Delete a schedule; the next deployment with it brings it back."""
    service = services.current()
    _, row = _found(service, deployment, slug)
    service.schedules.delete(row.deployment, row.slug)
    click.echo(f"schedule {row.slug} of {deployment} is deleted")


@command.command("backfill")
@click.argument("deployment", metavar="FLOW/NAME", shell_complete=service_names.deployments)
@click.argument("slug")
@click.argument("start", metavar="FROM")
@click.argument("end", metavar="TO")
def backfill(deployment: str, slug: str, start: str, end: str) -> None:
    """Order the runs of a schedule's ticks in a time that is over, such as 2026-01-01 to 2026-01-31.

    Both ends are included; times are of this machine's zone unless they name another. A tick that has had a run gets
    no second one.
    """
    service = services.current()
    _, row = _found(service, deployment, slug)
    runs = steps.backfill(service, row, _instant(start), _instant(end, last=True))
    for run in runs:
        click.echo(run)
    click.echo(f"{len(runs)} runs of {deployment} are ordered", err=True)


def table(rows: Sequence[ScheduleRow], names: dict[str, str] | None = None) -> None:
    """Print schedules, with their deployments where `names` has them by id."""
    columns = ["schedule", "when", "next", ""]
    cells = [[row.slug, _said(row.spec), record.when(row.next_tick), "" if row.active else "paused"] for row in rows]
    if names is not None:
        columns = ["deployment", *columns]
        cells = [[names.get(row.deployment, row.deployment), *rest] for row, rest in zip(rows, cells, strict=True)]
    tables.show(columns, cells)


def _set(deployment: str, slug: str | None, active: bool) -> None:
    service = services.current()
    _, row = _found(service, deployment, slug)
    service.schedules.set_active(row.deployment, row.slug, active)
    click.echo(f"schedule {row.slug} of {deployment} {'goes on' if active else 'is paused'}")


def _found(service: Service, name: str, slug: str | None) -> tuple[DeploymentRow, ScheduleRow]:
    """Return a deployment and its schedule of a slug, or its only one."""
    deployment = services.deployment(service, name)
    rows = {row.slug: row for row in service.schedules.all(deployment.id)}
    if slug is None and len(rows) == 1:
        slug = next(iter(rows))
    if slug is None:
        slugs = ", ".join(rows) or "it has none"
        raise click.UsageError(f"say which schedule of {name}: {slugs}")
    if slug not in rows:
        services.unknown("schedule", slug, rows, f"anabranch schedule ls {name}")
    return deployment, rows[slug]


def _instant(text: str, *, last: bool = False) -> float:
    """Return Unix seconds of a day or a time; of a day its beginning, or its last microsecond."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"a time must be like 2026-01-31 or 2026-01-31T09:00, got {text!r}") from None
    if last and len(text) <= len("2026-01-31"):
        found += timedelta(days=1) - timedelta(microseconds=1)
    return found.timestamp()


def _said(spec: dict[str, object]) -> str:
    """Return a spec in one line."""
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in spec.items() if value
    )
