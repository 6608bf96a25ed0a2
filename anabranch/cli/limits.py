"""`anabranch limits`: limits that all programs of a record share."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from anabranch.cli import record, tables
from anabranch.core.limits import Limit
from anabranch.core.processes import machine_of
from anabranch.display import units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.limits import Lease, LimitStore

_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400}


@click.group("limits")
def command() -> None:
    """Show and set limits that all programs of a record share.

    tag:NAME and task:NAME hold for task runs, flow:NAME for flow runs; any other name for code that calls
    concurrency("NAME") or rate_limit("NAME").
    """


@command.command("set")
@click.argument("name")
@click.option("--slots", metavar="N", help='How many at once; "none" for any number.')
@click.option("--rate", metavar="N/s", help='How many starts: 10/s, 100/min, 5/h; "none" for any number.')
@click.option("--on/--off", "active", default=None, help="Whether it holds; turned off it is kept.")
def set_limit(name: str, slots: str | None, rate: str | None, active: bool | None) -> None:
    """Make or change a limit; values that are not given stay unchanged.

    Running programs notice it within five seconds.
    """
    with _opened(make=True) as limits:
        known = {limit.name: limit for limit in limits.limits()} if limits is not None else {}
        limit = known.get(name, Limit(name))
        if slots is not None:
            limit = replace(limit, slots=_slots(slots))
        if rate is not None:
            limit = replace(limit, rate=_rate(rate))
        if active is not None:
            limit = replace(limit, active=active)
        if not name.strip():
            raise click.UsageError("a limit needs a name")
        if limit.slots is None and limit.rate is None:
            raise click.UsageError(f"the limit {name!r} would limit nothing: give --slots N, --rate N/s or both")
        assert limits is not None
        limits.set(limit)
    click.echo(f"{name}: {_said(limit)}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_limits(as_json: bool) -> None:
    """List all limits, with slots held and waited for."""
    with _opened() as limits:
        rows = [(limit, limits.leases(limit.name)) for limit in limits.limits()] if limits is not None else []
    if as_json:
        tables.dump([_plain(limit, leases) for limit, leases in rows])
        return
    if not rows:
        click.echo("no limits; `anabranch limits set NAME --slots 4` makes one")
        return
    tables.show(
        ["limit", "slots", "rate", "held", "waiting", ""],
        [
            (
                limit.name, limit.slots, _rate_text(limit), sum(lease.slots for lease in leases),
                sum(lease.wanted for lease in leases), "" if limit.active else "off",
            )
            for limit, leases in rows
        ],
        right=["slots", "held", "waiting"],
    )  # fmt: skip


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_limit(name: str, as_json: bool) -> None:
    """Show the holders of a limit's slots, and the programs that wait."""
    with _opened() as limits:
        limit = _known(limits, name)
        leases = limits.leases(name) if limits is not None else []
    if as_json:
        tables.dump(_plain(limit, leases))
        return
    click.echo(f"{name}: {_said(limit)}")
    if leases:
        tables.show(
            ["holder", "host", "process", "held", "waiting", "heard of"],
            [
                (
                    lease.holder.token, machine_of(lease.holder.host), lease.holder.pid, lease.slots, lease.wanted,
                    f"{units.duration(max(0.0, time.time() - lease.renewed))} ago",
                )
                for lease in leases
            ],
            right=["process", "held", "waiting"],
        )  # fmt: skip


@command.command("delete")
@click.argument("name")
def delete_limit(name: str) -> None:
    """Forget a limit; programs that wait for it go on."""
    with _opened() as limits:
        _known(limits, name)
        assert limits is not None
        limits.delete(name)
    click.echo(f"{name}: deleted")


@command.command("release")
@click.argument("name")
@click.option("--holder", default="", help="Only what this one holds; `anabranch limits show NAME` tells its name.")
def release_limit(name: str, holder: str) -> None:
    """Take slots away from their holders; runs under them go on, and others may begin beside them.

    A crash does not need this: slots of a process that has ended come back by themselves.
    """
    with _opened() as limits:
        _known(limits, name)
        assert limits is not None
        freed = limits.free(name, holder)
    click.echo(f"{name}: {freed} slots are free again")


@contextlib.contextmanager
def _opened(*, make: bool = False) -> Iterator[LimitStore | None]:
    """Return the limits of the program's record; None where there is no record, unless it is to be made."""
    with record.opened(make=make) as records:
        yield None if records is None else records.limits


def _known(limits: LimitStore | None, name: str) -> Limit:
    found = [limit for limit in limits.limits() if limit.name == name] if limits is not None else []
    if not found:
        raise click.ClickException(f"no limit {name!r}; `anabranch limits list` lists them")
    return found[0]


def _slots(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.UsageError(f"--slots must be 1 or more, or none, got {text!r}")
    return int(text)


def _rate(text: str) -> float | None:
    if text.lower() == "none":
        return None
    count, _, unit = text.partition("/")
    with contextlib.suppress(ValueError, KeyError):
        rate = float(count) / _SECONDS[unit.strip().lower() or "s"]
        if 0 < rate < float("inf"):
            return rate
    raise click.UsageError(f"--rate must be starts in a time such as 10/s, 100/min or 5/h, or none, got {text!r}")


def _rate_text(limit: Limit) -> str:
    if limit.rate is None:
        return ""
    counts = {unit: limit.rate * _SECONDS[unit] for unit in ("s", "min", "h", "d")}
    whole = [unit for unit, count in counts.items() if count >= 1 and abs(count - round(count)) < 1e-6]
    unit = next(iter(whole), "s" if limit.rate >= 1 else "d")
    return f"{counts[unit]:g}/{unit}"


def _said(limit: Limit) -> str:
    parts = [] if limit.slots is None else [f"{limit.slots} at once"]
    if limit.rate is not None:
        parts.append(f"{_rate_text(limit)} starts")
    return ", ".join(parts) + ("" if limit.active else " (off)")


def _plain(limit: Limit, leases: list[Lease]) -> dict[str, object]:
    holders = [
        {**lease.holder._asdict(), "held": lease.slots, "waiting": lease.wanted, "renewed": lease.renewed}
        for lease in leases
    ]
    return {**asdict(limit), "holders": holders}
