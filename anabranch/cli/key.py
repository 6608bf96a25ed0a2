"""`anabranch key create|ls|revoke|audit`."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from anabranch import serving, settings
from anabranch.cli import record, service_names, services, tables
from anabranch.core.access import ADMIN, AGENT, EDITOR, OPERATOR, VIEWER
from anabranch.core.service import MOST

if TYPE_CHECKING:
    from anabranch.core.access import AuditRow, Key, KeyRing

_UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


@click.group("key")
def command() -> None:
    """Make, list and revoke keys for a server, and see what was changed with them.

    Roles of people: a viewer looks; an operator also orders and cancels runs; an editor also changes
    deployments, schedules and pools; an admin also makes keys. An agent's key claims runs, of one pool or of all.
    Drivers get a key of their run alone, by themselves.
    """


@command.command("create")
@click.argument("name")
@click.option(
    "--role", default=VIEWER, show_default=True, type=click.Choice([VIEWER, OPERATOR, EDITOR, ADMIN, AGENT]),
    help="What the key may do.",
)  # fmt: skip
@click.option(
    "--pool", default="", help="The only pool that an agent's key serves.", shell_complete=service_names.pools
)
@click.option("--expires", default="", help="After which it is good no more, such as 12h, 90d or 4w.")
def create(name: str, role: str, pool: str, expires: str) -> None:
    """Make a key for a person or a program, and show it, this once, on standard output."""
    until = time.time() + _seconds(expires) if expires else None
    with contextlib.closing(serving.opened(settings.load())) as service:
        made = service.keys.make(name, role, pool=pool, expires=until)
    click.echo(made.text)
    click.echo(f"{name} may now log in as {role}: `anabranch login ADDRESS`; nobody can show the key again", err=True)


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(as_json: bool) -> None:
    """List keys, newest first; the keys themselves are kept by nobody."""
    with contextlib.closing(serving.opened(settings.load())) as service:
        found = service.keys.all()
    if as_json:
        tables.dump_some("keys", [asdict(key) for key in found], len(found))
        return
    if not found:
        click.echo("no keys yet; `anabranch key create NAME --role admin` makes one", err=True)
        return
    rows = [(key.id, key.name, key.role, key.pool or "-", _day(key.last_used), _standing(key)) for key in found]
    tables.show(["id", "name", "role", "pool", "last used", "good"], rows)


@command.command("revoke")
@click.argument("key")
def revoke(key: str) -> None:
    """End the key of this name or id; a server that has just seen it takes 5 seconds more."""
    with contextlib.closing(serving.opened(settings.load())) as service:
        ended = service.keys.revoke(key)
    if not ended:
        raise click.ClickException(f"there is no good key {key!r}; `anabranch key ls` lists them")
    click.echo(f"the key {key} is good no more")


@command.command("audit")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Show at most this many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def audit(limit: int, as_json: bool) -> None:
    """List what was changed through a server: when, by the key of what name, and how; newest first."""
    with contextlib.closing(serving.opened(settings.load())) as service:
        found = _newest(service.keys, limit + 1)
    rows = found[:limit]
    if as_json:
        form = {"version": tables.FORM, "shown": len(rows), "more": len(found) > limit}
        tables.dump({**form, "audit": services.plain(rows)})
        return
    if not rows:
        click.echo("nothing was changed through a server; writes of programs to a record are not noted", err=True)
        return
    tables.show(["when", "who", "what", "about"], [(record.when(r.at), r.who or "-", r.what, r.details) for r in rows])
    tables.tell_rest(f"the newest {len(rows)}, there are more", len(found) > limit)


def _newest(keys: KeyRing, limit: int) -> list[AuditRow]:
    """Return the newest notes of the audit; a server gives a part of them at a time."""
    found: list[AuditRow] = []
    while len(found) < limit:
        part = keys.audit(before=found[-1].id if found else None, limit=min(limit - len(found), MOST))
        if not part:
            break
        found += part
    return found


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([hdw])", text)
    if found is None:
        raise click.UsageError(f"--expires must be hours, days or weeks, such as 12h, 90d or 4w, got {text!r}")
    return int(found[1]) * _UNITS[found[2]]


def _standing(key: Key) -> str:
    if key.revoked is not None:
        return f"revoked {_day(key.revoked)}"
    if key.expires is None:
        return "yes"
    return f"until {_day(key.expires)}" if key.expires > time.time() else f"expired {_day(key.expires)}"


def _day(when: float | None) -> str:
    return "-" if when is None else f"{datetime.fromtimestamp(when):%Y-%m-%d %H:%M}"
