"""`anabranch project`, and `anabranch create project`: names under which deployments stand together."""

from __future__ import annotations

from typing import Any

import click

from anabranch.cli import record, services, tables
from anabranch.core.deployments import ProjectRow


@click.group("project")
def command() -> None:
    """See, make and delete projects: names under which deployments stand together."""


@click.group("create")
def creating() -> None:
    """Make things by the spelling of older programs: `anabranch create project NAME`."""


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(as_json: bool) -> None:
    """List the projects."""
    projects = services.current().deployments.projects()
    if as_json:
        tables.dump_some("projects", services.plain(projects), len(projects))
    elif not projects:
        click.echo("no projects; `anabranch project create NAME` makes one", err=True)
    else:
        rows = [(one.name, record.when(one.created), one.description) for one in projects]
        tables.show(["project", "made", "description"], rows)


def _create(name: str, description: str) -> None:
    """Make a project; one that is there already stays."""
    deployments = services.current().deployments
    known = {project.name: project for project in deployments.projects()}
    if name in known and not description:
        click.echo(f"project {name} is there already")
        return
    deployments.put_project(ProjectRow(name, description))
    click.echo(f"project {name} is {'changed' if name in known else 'made'}")


@command.command("delete")
@click.argument("name")
def delete(name: str) -> None:
    """Delete a project that has no deployments."""
    deployments = services.current().deployments
    if not deployments.delete_project(name):
        services.unknown("project", name, [one.name for one in deployments.projects()], "anabranch project ls")
    click.echo(f"project {name} is deleted")


def _creator(name: str) -> Any:
    argument = click.argument("name")
    option = click.option("--description", default="", help="What it is for.")
    return click.command(name)(argument(option(_create)))


command.add_command(_creator("create"))
creating.add_command(_creator("project"))
