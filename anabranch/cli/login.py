"""`anabranch login`, and what Prefect calls it: `backend server`, `cloud login`."""

from __future__ import annotations

import ipaddress
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from anabranch import settings
from anabranch.cli import config
from anabranch.core import secrets
from anabranch.core.errors import AccessError

if TYPE_CHECKING:
    from anabranch.core.access import Access

_HERE = "http://127.0.0.1:4200"


@click.command("login")
@click.argument("address")
@click.option("--key", default="", help="The key; asked for where a server wants one and none is given.")
@click.option("--profile", default="", help="Write both into this profile, which is made if need be.")
def login(address: str, key: str, profile: str) -> None:
    """Choose a server for record and service: ADDRESS such as https://flows.example.org.

    The address becomes the setting `records`, the key the setting `api_key`, in config.toml in ANABRANCH_HOME, which
    its owner alone can read. The server is asked first, so that a wrong key changes nothing.
    """
    _enter(address, key, profile)


@click.command("backend")
@click.argument("which", type=click.Choice(["server"]))
def backend(which: str) -> None:
    """Choose the server of this machine, as `anabranch login http://127.0.0.1:4200` does."""
    _enter(_HERE, "", "", asked=False)


@click.group("cloud")
def cloud() -> None:
    """Log in to a server, as `anabranch login` does."""


@cloud.command("login")
@click.option("--key", "-k", default="", help="The key.")
@click.option("--url", default="", help="The address of the server; there is no other cloud.")
@click.option("--workspace", "-w", default="", hidden=True)
def cloud_login(key: str, url: str, workspace: str) -> None:
    """Choose a server for record and service."""
    if not url:
        raise click.UsageError("there is no cloud of anabranch: --url names your server, as `anabranch login ADDRESS`")
    _enter(url, key, "")


def _enter(address: str, key: str, profile: str, *, asked: bool = True) -> None:
    """Ask the server for the name that it knows this key by, and write the settings."""
    address = address.rstrip("/")
    if asked:
        try:
            access = _access(address, key)
        except AccessError:
            if key or not sys.stdin.isatty():
                raise
            key = click.prompt("Key", hide_input=True)
            access = _access(address, key)
        click.echo(f"{address} knows this as {access.name or 'anybody of this machine'}, {access.role}")
    if key and _in_the_clear(address):
        click.echo(f"note: the key travels in the clear to {address}; https:// hides it", err=True)
    path = config.config_file()
    if profile and profile not in settings.read_file(path).profiles:
        settings.make_profile(path, profile, {})
    settings.write(path, "records", address, profile)
    settings.write(path, "api_key", key or None, profile)
    where = f"profile {profile} of {path}: `anabranch profile use {profile}` chooses it" if profile else str(path)
    click.echo(f"records = {address} in {where}")


def _access(address: str, key: str) -> Access:
    from anabranch.records.service.remote import RemoteService

    secrets.note(key)
    remote = RemoteService(address, key)
    try:
        return remote.keys.me()
    finally:
        remote.close()


def _in_the_clear(address: str) -> bool:
    parts = urlsplit(address)
    try:
        here = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        here = parts.hostname == "localhost"
    return parts.scheme == "http" and not here
