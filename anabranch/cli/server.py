"""`anabranch server start|stop|status`."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import ssl
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from anabranch import __version__, settings
from anabranch.core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from anabranch.server.running import Running
    from anabranch.settings import Settings

PATIENCE = 15.0  # seconds for which `stop` waits


@click.group("server")
def command() -> None:
    """Start, stop and look at the server: the record and the service over HTTP.

    It answers on this machine alone, without keys, unless it is told otherwise. In the same process it takes the steps
    of the service: schedules, and what heals lost agents and drivers. With records in a SQLite file there is one
    server; with PostgreSQL there may be any number.
    """


@command.command("start")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0 is all.")
@click.option("--port", default=4200, show_default=True, type=click.IntRange(0, 65535), help="The port; 0: any.")
@click.option("--base-path", default="", help="The path under which a proxy has it, such as /anabranch.")
@click.option("--no-services", is_flag=True, help="Take no steps of the service; another server does.")
@click.option("--behind-proxy", is_flag=True, help="A proxy does TLS, and alone can reach it.")
@click.option("--insecure", is_flag=True, help="Let keys travel in the clear.")
@click.option("--certificate", default="", help="A PEM file with the certificates of TLS.")
@click.option("--certificate-key", default="", help="A PEM file with its key.")
def start(
    host: str, port: int, base_path: str, no_services: bool, behind_proxy: bool, insecure: bool, certificate: str,
    certificate_key: str,
) -> None:  # fmt: skip
    """Serve until Ctrl-C, SIGTERM or `anabranch server stop`."""
    from anabranch.records import open_records, open_service, place_said

    chosen = _of_server(settings.load())
    if base_path and not base_path.startswith("/"):
        raise click.UsageError("--base-path begins with '/'")
    process = _process()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=chosen.log_level)
    found = _found()
    if found is not None:
        raise ConfigurationError(
            f"a server of this home runs already at {found.address} (process {found.pid}): `anabranch server stop` "
            "ends it"
        )
    binding = process.Binding(host, port, base_path, behind_proxy, insecure, certificate, certificate_key)
    where, shared = chosen.records_place, chosen.records_shared
    with contextlib.ExitStack() as open_now:
        taken = open_now.enter_context(process.listening(binding))
        service = open_now.enter_context(contextlib.closing(open_service(where, shared=shared)))
        process.check(binding, service.keys)
        records = open_now.enter_context(
            contextlib.closing(open_records(where, shared=shared, retention_days=chosen.retention_days))
        )
        binding = replace(binding, port=taken.getsockname()[1])
        told = f"anabranch {__version__} serves {place_said(where, shared=shared)} at {binding.address}"
        click.echo(told, err=True)
        ended_by = process.serve(service, records, binding, taken, chosen.home, __version__, steps=not no_services)
    sys.exit(128 + ended_by)


def _of_server(chosen: Settings) -> Settings:
    """Return the settings of a server: where its home's programs are told to ask it, its record is the home's file.

    Raises:
        ConfigurationError: they are told to ask another machine.
    """
    if not chosen.records.startswith(("http://", "https://")):
        return chosen
    host = urlsplit(chosen.records).hostname or ""
    if host not in ("localhost", "127.0.0.1", "::1"):
        raise ConfigurationError(
            f"records = {chosen.records} is a server's already: a server needs a path or postgresql://user@host/db"
        )
    return replace(chosen, records="")


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(as_json: bool) -> None:
    """Say whether a server of this home runs and answers; exit code 1 if not."""
    found = _found()
    health = None if found is None else _health(found.address)
    if as_json:
        answer = None if found is None else {"address": found.address, "pid": found.pid, "answers": health is not None}
        click.echo(json.dumps(answer))
    elif found is None:
        click.echo("no server of this home runs; `anabranch server start` starts one", err=True)
    elif health is None:
        click.echo(f"the server at {found.address} (process {found.pid}) does not answer", err=True)
    else:
        click.echo(f"anabranch {health} serves at {found.address} (process {found.pid})")
    sys.exit(0 if health is not None else 1)


@command.command("stop")
def stop() -> None:
    """End the server of this home, and wait until it has."""
    found = _found()
    if found is None:
        click.echo("no server of this home runs", err=True)
        return
    os.kill(found.pid, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    while found.alive:
        if time.monotonic() > until:
            raise ConfigurationError(f"process {found.pid} has not ended: `kill -9 {found.pid}` ends it at once")
        time.sleep(0.05)
    click.echo(f"the server at {found.address} has ended")


def _found() -> Running | None:
    from anabranch.server import running

    return running.running(settings.load().home)


def _process() -> Any:
    """Return the module of servers; raises MissingExtraError where its packages are not installed."""
    try:
        from anabranch.server import process
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"a server needs the package {error.name}: pip install 'anabranch[server]'") from error
    return process


def _health(address: str) -> str | None:
    """Return the version that a server says; None where it does not answer."""
    parts = urlsplit(address)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")
    connection = http.client.HTTPConnection(host, parts.port, timeout=5)
    if parts.scheme == "https":  # its certificate has the name by which others reach it, and nothing secret is sent
        unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, parts.port, timeout=5, context=unchecked)
    try:
        connection.request("GET", f"{parts.path}/api/v1/health")
        answer = connection.getresponse()
        return answer.getheader("Anabranch-Version", "?") if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
