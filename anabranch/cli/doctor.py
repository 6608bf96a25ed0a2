"""`anabranch doctor`: what will hurt on this machine, a sentence each, with the remedy."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from anabranch.cli import tables

if TYPE_CHECKING:
    from anabranch.diagnosis.health import Finding, Found

WORDS = {"fail": "FAILS", "warn": "WARNS", "note": "note "}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """Look at this machine, and say what will hurt, with the remedy.

    It looks at versions, the record and its file system, the result store, /dev/shm, limits, processors, clocks,
    signs of a login node, and variables of native threads. Exit code 1 when something will certainly fail.
    """
    from anabranch.cli import probing
    from anabranch.diagnosis import health

    found = probing.look()
    told = health.findings(found)
    if as_json:
        listed = [one._asdict() for one in told]
        tables.dump({"version": tables.FORM, "ok": not _fails(told), "findings": listed, "found": asdict(found)})
    else:
        for name, value in _facts(found):
            click.echo(f"{name:<11} {value}")
        click.echo("")
        for one in told:
            click.echo(f"{WORDS[one.level]}  {one.subject}: {one.sentence}{f' {one.remedy}' if one.remedy else ''}")
        if not any(one.level != health.NOTE for one in told):
            click.echo("Nothing will hurt, as far as can be seen.")
    if _fails(told):
        sys.exit(1)


def _fails(told: list[Finding]) -> bool:
    return any(one.level == "fail" for one in told)


def _facts(found: Found) -> list[tuple[str, str]]:
    engines = [f"{name} {version}" for name, version in found.versions.items() if version]
    room = None if found.record_kind == "address" else found.home.free
    free = "" if room is None else f", {room / (1 << 30):,.1f} GiB free"
    return [
        ("python", ".".join(map(str, found.python))),
        ("packages", ", ".join(engines)),
        ("record", f"{found.record}{free}"),
        ("processors", f"{found.cpus} of {found.machine_cpus}"),
        ("memory", _memory(found)),
        ("/dev/shm", "none" if found.shared_memory is None else f"{found.shared_memory / (1 << 30):,.1f} GiB"),
        ("limits", f"{found.open_files or 'any number of'} open files, {found.processes or 'any number of'} processes"),
    ]


def _memory(found: Found) -> str:
    limit = f", {found.group_memory / (1 << 30):,.1f} GiB for this control group" if found.group_memory else ""
    return f"{found.memory / (1 << 30):,.1f} GiB{limit}"
