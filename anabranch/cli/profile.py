"""`anabranch profile create|use|ls|show|delete`: named sets of settings."""

from __future__ import annotations

import os

import click

from anabranch import settings
from anabranch.cli import config, tables


@click.group("profile")
def command() -> None:
    """Make, choose and delete profiles: named sets of settings, such as one for a cluster and one for this laptop.

    A profile counts when ANABRANCH_PROFILE names it, or after `anabranch profile use NAME`; ANABRANCH_* variables of
    single settings win over it. Profiles stand in config.toml in ANABRANCH_HOME, which its owner alone can read.
    """


@command.command("create")
@click.argument("name")
@click.argument("given", metavar="[SETTING=VALUE]...", nargs=-1)
def create(name: str, given: tuple[str, ...]) -> None:
    """Make a profile, with settings; `anabranch config view` lists their names."""
    values: dict[str, str] = {}
    for text in given:
        setting, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"a setting must be SETTING=VALUE, got {text!r}")
        values[setting] = value
    settings.make_profile(config.config_file(), name, values)
    click.echo(f"profile {name} is made; `anabranch profile use {name}` chooses it")


@command.command("use")
@click.argument("name", required=False)
@click.option("--none", "nothing", is_flag=True, help="Choose no profile.")
def use(name: str | None, nothing: bool) -> None:
    """Choose the profile that counts from now on, where ANABRANCH_PROFILE names no other."""
    if nothing == bool(name):
        raise click.UsageError("give the name of a profile, or --none")
    settings.write(config.config_file(), "profile", name)
    click.echo(f"profile {name} is chosen" if name else "no profile is chosen")
    other = os.environ.get("ANABRANCH_PROFILE")
    if other and other != name:
        click.echo(f"note: ANABRANCH_PROFILE={other} in the environment wins over this choice", err=True)


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(as_json: bool) -> None:
    """List the profiles; the one that counts is marked."""
    stored = settings.read_file(config.config_file())
    chosen = os.environ.get("ANABRANCH_PROFILE") or stored.values.get("profile", "")
    if as_json:
        found = sorted(stored.profiles.items())
        rows = [{"name": name, "chosen": name == chosen, **_plain(one)} for name, one in found]
        tables.dump_some("profiles", rows, len(rows))
        return
    if not stored.profiles:
        click.echo("no profiles yet; `anabranch profile create NAME SETTING=VALUE` makes one", err=True)
        return
    rows_ = [("*" if name == chosen else "", name, _told(one)) for name, one in sorted(stored.profiles.items())]
    tables.show(["", "profile", "settings"], rows_)


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(name: str, as_json: bool) -> None:
    """Show the settings of a profile."""
    path = config.config_file()
    found = settings.read_file(path).of(name, str(path))
    if as_json:
        tables.dump({"name": name, **_plain(found)})
        return
    tables.show(["setting", "value"], [(setting, config.shown(value)) for setting, value in sorted(found.items())])


@command.command("delete")
@click.argument("name")
def delete(name: str) -> None:
    """Delete a profile."""
    settings.drop_profile(config.config_file(), name)
    click.echo(f"profile {name} is deleted")


def _plain(found: dict[str, object]) -> dict[str, object]:
    return {"settings": {setting: config.readable(value) for setting, value in sorted(found.items())}}


def _told(found: dict[str, object]) -> str:
    return ", ".join(f"{setting}={config.shown(value)}" for setting, value in sorted(found.items())) or "-"
