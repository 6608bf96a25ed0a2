"""Schedules as dictionaries: what documents hold and the record keeps, and back.

{"cron": "0 9 * * *", "timezone": "Europe/Berlin"}
{"interval": 3600, "anchor_date": "2026-01-01T06:00"}
{"rrule": "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0", "active": False}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from anabranch.core.deployments import ScheduleRow
from anabranch.core.errors import ServiceError
from anabranch.core.nearest import meant
from anabranch.scheduling.cron import Cron
from anabranch.scheduling.interval import Interval
from anabranch.scheduling.rrule import RRule
from anabranch.scheduling.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS: dict[str, type[Schedule]] = {kind.kind: kind for kind in (Cron, Interval, RRule)}
BESIDE = ("active", "parameters", "slug")  # columns of their own in the record


def parse(given: Schedule | Mapping[str, Any]) -> Schedule:
    """Return the schedule that a dictionary says; its keys are the arguments of `Cron`, `Interval` or `RRule`.

    Args:
        given: a key `schedule` may hold such a dictionary, beside `active`, `parameters` and `slug`. A key with None
            is not given.

    Raises:
        ServiceError: it is none; a misspelt key names the nearest.
    """
    if isinstance(given, Schedule):
        return given
    if not isinstance(given, Mapping):
        raise ServiceError(f"a schedule is a dictionary with one of {', '.join(KINDS)}; not {given!r}")
    said = {str(name): value for name, value in given.items() if value is not None}
    inner = said.pop("schedule", None)
    if isinstance(inner, Mapping):
        said = {**{str(name): value for name, value in inner.items() if value is not None}, **said}
    kinds = [kind for kind in KINDS if kind in said]
    if len(kinds) != 1:
        raise ServiceError(f"a schedule has one of {', '.join(KINDS)}; {dict(given)!r} has {_number(said, kinds)}")
    made = KINDS[kinds[0]]
    known = [field.name for field in fields(made)]
    for name in said:
        if name not in known:
            raise ServiceError(f"a schedule by {kinds[0]} has no {name!r}{meant(name, known)}")
    if not isinstance(said.get("active", True), bool) or not isinstance(said.get("parameters", {}), Mapping):
        raise ServiceError("of a schedule, active is true or false, and parameters are a dictionary")
    return made(**said)


def _number(said: dict[str, Any], kinds: list[str]) -> str:
    if kinds:
        return " and ".join(kinds)
    return "none" + next((near for name in said if (near := meant(name, KINDS))), "")


def document(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as a dictionary of plain values, which `parse` reads; what is as usual is left out."""
    found = {field.name: (getattr(schedule, field.name), field.default) for field in fields(schedule)}
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, (value, usual) in found.items()
        if value != usual
    }


def row(given: Schedule | Mapping[str, Any], now: float, *, deployment: str = "", slug: str = "") -> ScheduleRow:
    """Return a schedule as the record keeps it, which begins now."""
    schedule = parse(given)
    spec = {name: value for name, value in document(schedule).items() if name not in BESIDE}
    return ScheduleRow(
        id="",
        deployment=deployment,
        slug=schedule.slug or slug or schedule.kind,
        spec=spec,
        declared_active=schedule.active,
        cursor=now,
        next_tick=schedule.after(now),
        parameters=dict(schedule.parameters or {}),
    )


def rows(given: Iterable[Schedule | Mapping[str, Any]], now: float) -> list[ScheduleRow]:
    """Return all schedules of a deployment as the record keeps them.

    One without a slug is named after its kind and its place among its kind, so that it keeps its name, and with it a
    person's pause, when its times change.

    Raises:
        ServiceError: one is no schedule, or two have the same slug.
    """
    schedules = [parse(one) for one in given]
    taken = [schedule.slug for schedule in schedules if schedule.slug]
    twice = {slug for slug in taken if taken.count(slug) > 1}
    if twice:
        raise ServiceError(f"two schedules of a deployment have the slug {min(twice)!r}: each has its own")
    made = []
    for schedule in schedules:
        slug, number = schedule.slug or schedule.kind, 1
        while not schedule.slug and slug in taken:
            number += 1
            slug = f"{schedule.kind}-{number}"
        taken.append(slug)
        made.append(row(schedule, now, slug=slug))
    return made
