"""Schedules as a document has them: plain dicts, made of what people give.

    {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}     {"interval": 3600.0}     {"rrule": "FREQ=DAILY"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from anabranch.core import option_checks
from anabranch.documents.parameters import plain

KINDS = ("cron", "interval", "rrule")
_PLAIN = (str, int, float, timedelta)  # how people give a rule
# What other kinds of schedules have as attributes.
_ATTRIBUTES = ("schedule", *KINDS, "timezone", "day_or", "anchor_date", "active", "parameters", "slug")


def checked(given: Any) -> list[dict[str, Any]] | None:
    """Return schedules as dicts; None for None.

    Args:
        given: a list, of dicts or of objects with the attributes of a schedule.

    Raises:
        ValueError: one is no schedule.
    """
    if given is None:
        return None
    if isinstance(given, Mapping | str) or not isinstance(given, list | tuple):
        raise ValueError(f"must be a list of schedules, got {given!r}")
    # A schedule of several clocks stands for as many schedules.
    return [spec_of(rule) for one in given for rule in getattr(one, "clocks", None) or [one]]


def spec_of(given: Any) -> dict[str, Any]:
    """Return one schedule as a dict; raises ValueError where it is none."""
    found = _named(given)
    for within in ("schedule", *KINDS):  # the options beside, the rule within
        if within in found and not isinstance(found[within], _PLAIN):
            found = {**_named(found.pop(within)), **found}
    anchor, zone = found.get("anchor_date"), found.get("timezone")
    if zone is None and isinstance(anchor, datetime):
        zone = option_checks.zone_name(anchor.tzinfo)  # written down, an anchor keeps its offset alone
    elif (zone := option_checks.zone_name(zone)) is None and found.get("timezone") is not None:
        raise ValueError(f"timezone must be a name, such as 'Europe/Berlin', got {found['timezone']!r}")
    found = {str(key): _value(value) for key, value in {**found, "timezone": zone}.items() if value is not None}
    if found.get("parameters") == {}:
        del found["parameters"]
    kinds = [kind for kind in KINDS if kind in found]
    if len(kinds) != 1:
        raise ValueError(f"a schedule has one of {', '.join(KINDS)}, got {given!r}")
    return found


def _named(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if is_dataclass(given):
        found = {field.name: (getattr(given, field.name), field.default) for field in fields(given)}
        return {name: value for name, (value, usual) in found.items() if value != usual}
    return {name: getattr(given, name) for name in _ATTRIBUTES if getattr(given, name, None) is not None}


def given(
    interval: Any = None, cron: Any = None, rrule: Any = None, schedule: Any = None, schedules: Any = None,
) -> list[dict[str, Any]] | None:  # fmt: skip
    """Return the schedules that the arguments of `serve` and `deploy` say; None where they say none.

    Args:
        interval, cron, rrule: one, or a list of them; an interval in seconds or as a timedelta.

    Raises:
        ValueError: more than one of the arguments is given.
    """
    said = {"interval": interval, "cron": cron, "rrule": rrule, "schedule": schedule, "schedules": schedules}
    said = {name: value for name, value in said.items() if value is not None}
    if len(said) > 1:
        raise ValueError(f"give one of {', '.join(said)}; several schedules: schedules=[...]")
    for name, value in said.items():
        if name == "schedules":
            return checked(value)
        if name == "schedule":
            return checked(value if isinstance(value, list | tuple) else [value])
        many = value if isinstance(value, list | tuple) else [value]
        return [spec_of({name: one} if isinstance(one, _PLAIN) else one) for one in many]
    return None


def _value(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    return plain(value, "schedule")
