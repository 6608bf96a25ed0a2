"""`anabranch config view|set|unset`."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from anabranch import settings
from anabranch.cli import tables
from anabranch.core import secrets


@click.group("config")
def command() -> None:
    """Show and change settings.

    A value comes from the default, the file config.toml in ANABRANCH_HOME, or an ANABRANCH_* variable; the latter win.
    """


def config_file() -> Path:
    """Return the file that `set` writes."""
    return settings.load().home / "config.toml"


def sources() -> list[tuple[str, Any, str]]:
    """Return for each setting its name, its value and the source of the value."""
    loaded = settings.load()
    path = loaded.home / "config.toml"
    in_file = settings.read_file(path)
    rows = []
    for name in (f.name for f in fields(settings.Settings)):
        variable = f"ANABRANCH_{name.upper()}"
        if os.environ.get(variable):
            source = f"environment ({variable})"
        elif name in in_file:
            source = f"file ({path})"
        else:
            source = "default"
        rows.append((name, _readable(getattr(loaded, name)), source))
    return rows


@command.command("view")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def view(as_json: bool) -> None:
    """Show every setting, its value and where it comes from."""
    rows = sources()
    if as_json:
        plain = {name: str(v) if isinstance(v, Path) else v for name, v, _ in rows}
        tables.dump([{"setting": name, "value": plain[name], "source": source} for name, _, source in rows])
        return
    tables.show(["setting", "value", "source"], [(name, _shown(value), source) for name, value, source in rows])


@command.command("set")
@click.argument("name")
@click.argument("value")
def set_(name: str, value: str) -> None:
    """Set NAME to VALUE in the file; `anabranch config view` lists the names."""
    path = config_file()
    if name == "home":
        raise click.UsageError("home says where the file is, so it cannot stand in it; set ANABRANCH_HOME")
    settings.write(path, name, value)
    click.echo(f"{name} = {_readable(settings.read_file(path)[name])} in {path}")
    _warn_of_environment(name)


@command.command("unset")
@click.argument("name")
def unset(name: str) -> None:
    """Take NAME out of the file, so that the default counts again."""
    if name not in {f.name for f in fields(settings.Settings)}:
        settings.parse(name, "", "command line")  # raises, and lists the known names
    path = config_file()
    if name not in settings.read_file(path):
        click.echo(f"{name} is not set in {path}")
        return
    settings.write(path, name, None)
    click.echo(f"{name} taken out of {path}")
    _warn_of_environment(name)


def _warn_of_environment(name: str) -> None:
    variable = f"ANABRANCH_{name.upper()}"
    if os.environ.get(variable):
        value = _readable(os.environ[variable])
        click.echo(f"note: {variable}={value} in the environment wins over the file", err=True)


def _readable(value: Any) -> Any:
    """Return an address without its login; other values unchanged."""
    return secrets.without_login(value) if isinstance(value, str) and "://" in value else value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else "-"
