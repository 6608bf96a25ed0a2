"""`anabranch deployment run|export|apply`: runs of deployments, and deployments as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch.cli import deploy, load, service_names, services
from anabranch.core.picking import why_waiting

if TYPE_CHECKING:
    from datetime import datetime


@click.command("run")
@click.argument("name", shell_complete=service_names.deployments)
@click.option("-p", "--param", "given", multiple=True, metavar="NAME=VALUE", help="A parameter; JSON where it parses.")
@click.option("--at", type=click.DateTime(), help="When it is due, by this machine's clock; now where it is left out.")
@click.option("--name", "run_name", help="Of the run.")
@click.option("--tag", "tags", multiple=True, help="A tag of the run.")
@click.option("--key", help="A second order with the same key is the first one.")
@click.option("--wait", is_flag=True, help="Wait for its end; the exit code says how that was.")
def run(
    name: str, given: tuple[str, ...], at: datetime | None, run_name: str | None, tags: tuple[str, ...],
    key: str | None, wait: bool,
) -> None:  # fmt: skip
    """Order a run of a deployment, FLOW/NAME."""
    from anabranch.serving import deploying

    ordered = deploying.run_deployment(
        name, load.values(given), scheduled_time=at, flow_run_name=run_name, tags=tags, idempotency_key=key, timeout=0
    )
    click.echo(f"run {ordered.name} of {name} is ordered: {ordered.id}")
    standing = services.current().orders.standing(ordered.id)
    if standing is not None and (why := why_waiting(standing)):
        click.echo(f"  it waits: {why}", err=True)
    if wait:
        state = ordered.wait()
        click.echo(str(state))
        if not state.is_completed():
            raise SystemExit(1)


@click.command("export")
@click.argument("name", shell_complete=service_names.deployments)
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def export(name: str, file: Path | None) -> None:
    """Write a deployment as YAML, to a file (as JSON where its name ends in .json) or to stdout."""
    from anabranch.documents import yaml_file
    from anabranch.documents.document import Document

    document = Document.of_row(services.deployment(services.current(), name))
    if file is None:
        click.echo(yaml_file.written(document), nl=False)
    else:
        yaml_file.write(document, file)


@click.command("apply")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def apply(files: tuple[Path, ...]) -> None:
    """Put the deployments of files into the service, all of each."""
    from anabranch.documents import yaml_file
    from anabranch.serving import deploying, sources

    for file in files:
        for one in yaml_file.read(file):
            deploy.told(deploying.apply(sources.completed(one), by="anabranch deployment apply"))
