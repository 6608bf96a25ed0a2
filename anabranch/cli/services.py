"""The program's service, as commands use it, and what they say of names that it does not know."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import click

from anabranch import settings
from anabranch.core.errors import ConfigurationError
from anabranch.core.nearest import meant
from anabranch.core.picking import why_waiting
from anabranch.core.service import MOST
from anabranch.core.states import is_final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.orders import Pool
    from anabranch.core.runs import FlowRunRow
    from anabranch.core.service import Service


def current() -> Service:
    from anabranch import serving

    return serving.current()


def waits(row: FlowRunRow) -> str:
    """Return why the order of a run waits for a driver, or its driver for another run; "" where there is no order."""
    if is_final(row.state):
        return ""
    from anabranch import serving

    try:
        service = serving.opened(settings.load())
    except ConfigurationError:  # a record that keeps no orders
        return ""
    with contextlib.closing(service):
        standing = service.orders.standing(row.id)
        return "" if standing is None else why_waiting(standing)


def deployment(service: Service, name: str) -> DeploymentRow:
    """Return a deployment by id or FLOW/NAME, or end the command."""
    found = service.deployments.find(name)
    if found is None:
        unknown("deployment", name, [row.full_name for row in deployments(service)], "anabranch deployment ls")
    return found


def deployments(service: Service, *, flow: str = "", project: str = "") -> list[DeploymentRow]:
    """Return all deployments, page by page."""
    found = page = service.deployments.all(flow=flow, project=project)
    while len(page) >= MOST:
        page = service.deployments.all(flow=flow, project=project, after=page[-1].full_name)
        found = found + page
    return found


def pool(service: Service, name: str) -> Pool:
    """Return a pool by name, or end the command."""
    pools = {one.name: one for one in service.pools.all()}
    if name not in pools:
        unknown("pool", name, pools, "anabranch pool ls")
    return pools[name]


def unknown(kind: str, name: str, known: Iterable[str], command: str) -> NoReturn:
    raise click.ClickException(f"no {kind} {name!r}{meant(name, known)} (`{command}` lists them)")


def plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]


def slots(text: str | None) -> int | None:
    """Read a number of slots; "none" is any number."""
    if text is None or text.lower() == "none":
        return None
    if not text.isdecimal():
        raise click.UsageError(f"slots must be 0 or more, or none, got {text!r}")
    return int(text)


def variables(given: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE pairs; a value is JSON, or a text where it is not."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"a variable must be NAME=VALUE, got {text!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def any_number(count: int | None) -> str:
    return "" if count is None else str(count)
