"""`anabranch deploy [FILE|FILE:FLOW]`: deployments of files of YAML, or of one flow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli import load, service_names

if TYPE_CHECKING:
    from anabranch.core.deployments import DeploymentRow
    from anabranch.documents.document import Document

FILES = ("anabranch.yaml", "prefect.yaml", "deployment.yaml")  # the first of them in the working folder counts


@click.command("deploy")
@click.argument("target", required=False)
@click.option("-n", "--name", "names", multiple=True, help="Of the deployment; from a file, several times: only these.")
@click.option("--all", "everything", is_flag=True, help="All deployments of the file.")
@click.option("-p", "--pool", help="Where its runs wait for an agent.", shell_complete=service_names.pools)
@click.option("-q", "--work-queue", "queue", help="Of the pool.")
@click.option("--cron", help="Order runs by cron fields.")
@click.option("--interval", type=float, help="Order a run every so many seconds.")
@click.option("--rrule", help="Order runs by a rule of RFC 5545.")
@click.option("--timezone", help="Of the schedule, such as Europe/Berlin.")
@click.option("--param", "given", multiple=True, metavar="NAME=VALUE", help="A parameter; JSON where it parses.")
@click.option("--tag", "tags", multiple=True, help="A tag of its runs.")
@click.option("--version", "version", help="Of the deployment, any text.")
def command(
    target: str | None, names: tuple[str, ...], everything: bool, given: tuple[str, ...], tags: tuple[str, ...],
    **options: Any,
) -> None:  # fmt: skip
    """Deploy a flow, or the deployments of a file of YAML.

    TARGET is FILE.py:FLOW or MODULE:FLOW, with --name; or a file of YAML or JSON, where it is left out anabranch.yaml,
    prefect.yaml or deployment.yaml. Options go over what the file says.
    """
    from anabranch.serving import deploying

    file = Path(target or next((name for name in FILES if Path(name).exists()), FILES[0]))
    of_a_file = file.suffix in (".yaml", ".yml", ".json")
    found = _of_file(file, names, everything) if of_a_file else [_of_flow(str(target), names)]
    changes = _changes(tags, **options)
    for one in found:
        laid = {name: value for name, value in changes.items() if value is not None}
        if given:
            laid["parameters"] = {**one.parameters, **load.values(given)}
        told(deploying.apply(replace(one, **laid), by="anabranch deploy"))


def told(row: DeploymentRow) -> None:
    """Say what became of a deployment."""
    click.echo(f"{row.full_name}: revision {row.revision}, in pool {row.pool}")


def _of_file(file: Path, names: tuple[str, ...], everything: bool) -> list[Any]:
    from anabranch.documents import yaml_file
    from anabranch.serving import sources

    found = yaml_file.read(file)
    if len(found) > 1 and not names and not everything:
        raise click.UsageError(f"{file} has {_listed(found)}: say --all, or --name of some")
    unknown = [name for name in names if name not in {one.name for one in found}]
    if unknown:
        raise click.UsageError(f"{file} has no deployment {unknown[0]!r}; it has {_listed(found)}")
    return [sources.completed(one) for one in found if one.name in names or not names]


def _of_flow(target: str, names: tuple[str, ...]) -> Any:
    if len(names) != 1:
        raise click.UsageError("a flow's deployment has a name: give one --name")
    return load.flow_of(target).to_deployment(names[0])


def _changes(
    tags: tuple[str, ...], pool: str | None, queue: str | None, cron: str | None, interval: float | None,
    rrule: str | None, timezone: str | None, version: str | None,
) -> dict[str, Any]:  # fmt: skip
    rules = {"cron": cron, "interval": interval, "rrule": rrule}
    said = {name: value for name, value in rules.items() if value is not None}
    if len(said) > 1:
        raise click.UsageError(f"give one of {', '.join(f'--{name}' for name in said)}")
    schedule = {**said, **({"timezone": timezone} if timezone else {})} if said else None
    return {
        "work_pool_name": pool, "work_queue_name": queue, "version": version, "tags": list(tags) or None,
        "schedules": None if schedule is None else [schedule],
    }  # fmt: skip


def _listed(found: list[Document]) -> str:
    return ", ".join(one.name for one in found) or "no deployments"
