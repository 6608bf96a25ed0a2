"""`anabranch version`."""

from __future__ import annotations

import importlib.metadata
import platform

import click

import anabranch
from anabranch.cli import tables

PACKAGES = ("cloudpickle", "msgpack", "pydantic", "dask", "distributed", "ray")


def versions() -> dict[str, str]:
    """Versions by name; packages that are not installed are left out."""
    found = {"anabranch": anabranch.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "platform": platform.platform()}


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """Show versions of anabranch and what it runs on."""
    found = versions()
    if as_json:
        tables.dump(found)
        return
    for name, version in found.items():
        click.echo(f"{name:<12} {version}")
