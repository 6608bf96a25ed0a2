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

_PREFECT = {"PREFECT_API_URL": "records", "PREFECT_API_KEY": "api_key"}


@click.group("config")
def command() -> None:
    """Show and change settings.

    A value comes from the default, the file config.toml in ANABRANCH_HOME, the profile that is chosen, or an
    ANABRANCH_* variable; the latter win.
    """


def config_file() -> Path:
    """Return the file that `set` writes."""
    return Path(os.environ.get("ANABRANCH_HOME", "~/.anabranch")).expanduser().absolute() / "config.toml"


def sources() -> list[tuple[str, Any, str]]:
    """Return for each setting its name, its value and the source of the value."""
    loaded = settings.load()
    path = loaded.home / "config.toml"
    stored = settings.read_file(path)
    profile = stored.of(loaded.profile, settings.chosen_by(os.environ, path))
    rows = []
    for name in (f.name for f in fields(settings.Settings)):
        variable = f"ANABRANCH_{name.upper()}"
        if os.environ.get(variable):
            source = f"environment ({variable})"
        elif name in profile:
            source = f"profile {loaded.profile} ({path})"
        elif name in stored.values:
            source = f"file ({path})"
        else:
            source = "default"
        rows.append((name, readable(getattr(loaded, name)), source))
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
    tables.show(["setting", "value", "source"], [(name, shown(value), source) for name, value, source in rows])


@command.command("set")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--profile", default="", help="Set it in this profile.")
def set_(name: str, value: str | None, profile: str) -> None:
    """Set NAME to VALUE in the file, also as NAME=VALUE; `anabranch config view` lists the names."""
    path = config_file()
    as_prefect, (name, value) = name.partition("=")[0] in _PREFECT, _pair(name, value)
    if as_prefect and not profile:  # Prefect sets in the profile that counts
        profile = os.environ.get("ANABRANCH_PROFILE") or settings.read_file(path).values.get("profile", "")
    if name == "home":
        raise click.UsageError("home says where the file is, so it cannot stand in it; set ANABRANCH_HOME")
    settings.write(path, name, value, profile)
    stored = settings.read_file(path)
    written = stored.profiles[profile] if profile else stored.values
    click.echo(f"{name} = {readable(written[name])} in {f'profile {profile} of ' if profile else ''}{path}")
    _warn_of_environment(name)


def _pair(name: str, value: str | None) -> tuple[str, str]:
    """Return a setting and its value from NAME and VALUE, or NAME=VALUE; two names of Prefect's are ours as well."""
    if value is None:
        name, equals, value = name.partition("=")
        if not equals:
            raise click.UsageError(f"give a value: {name} VALUE, or {name}=VALUE")
    name = _PREFECT.get(name, name)
    return name, value.rstrip("/").removesuffix("/api") if name == "records" and "://" in value else value


@command.command("unset")
@click.argument("name")
@click.option("--profile", default="", help="Take it out of this profile.")
def unset(name: str, profile: str) -> None:
    """Take NAME out of the file, so that the default counts again."""
    if name not in {f.name for f in fields(settings.Settings)}:
        settings.parse(name, "", "command line")  # raises, and lists the known names
    path = config_file()
    stored = settings.read_file(path)
    place = f"profile {profile} of {path}" if profile else str(path)
    if name not in (stored.of(profile, str(path)) if profile else stored.values):
        click.echo(f"{name} is not set in {place}")
        return
    settings.write(path, name, None, profile)
    click.echo(f"{name} taken out of {place}")
    _warn_of_environment(name)


def _warn_of_environment(name: str) -> None:
    variable = f"ANABRANCH_{name.upper()}"
    if os.environ.get(variable):
        if name == "api_key":
            secrets.note(os.environ[variable])
        value = readable(os.environ[variable])
        click.echo(f"note: {variable}={value} in the environment wins over the file", err=True)


def readable(value: Any) -> Any:
    """Return an address without its login, and no key; other values unchanged."""
    if not isinstance(value, str):
        return value
    return secrets.without_login(value) if "://" in value else secrets.mask(value)


def shown(value: Any) -> str:
    """Return a setting's value as people read it, without a login."""
    value = readable(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else "-"
