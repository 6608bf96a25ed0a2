"""Prefect's events: each becomes a line of the run that emits it, in the log and in the record."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from anabranch.compat.prefect.logging.loggers import logger_here

__all__ = ["Event", "RelatedResource", "Resource", "emit_event"]


class Resource(dict[str, str]):
    """What an event is about: labels, of which "prefect.resource.id" is one."""

    @property
    def id(self) -> str:
        return self["prefect.resource.id"]

    @property
    def name(self) -> str | None:
        return self.get("prefect.resource.name")


RelatedResource = Resource


@dataclass
class Event:
    """Something that has happened."""

    event: str
    resource: Resource
    occurred: datetime = field(default_factory=lambda: datetime.now(UTC))
    related: list[Resource] = field(default_factory=list)
    payload: dict[str, Any] = field(default_factory=dict)
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    follows: uuid.UUID | None = None


def emit_event(
    event: str,
    resource: dict[str, str],
    occurred: datetime | None = None,
    related: list[Any] | None = None,
    payload: dict[str, Any] | None = None,
    id: uuid.UUID | None = None,
    follows: Event | None = None,
    **_: Any,
) -> Event:
    """Note an event as a line of the run around, outside of runs as one of the logger "prefect.events".

    Args:
        event: the event's name.
        resource: what it is about; has the key "prefect.resource.id".
        payload: more about it.
    """
    if "prefect.resource.id" not in resource:
        raise ValueError("Resources must include the prefect.resource.id label")
    found = Event(
        event, Resource(resource), occurred or datetime.now(UTC), [Resource(one) for one in related or ()],
        dict(payload or {}), id or uuid.uuid4(), None if follows is None else follows.id,
    )  # fmt: skip
    told = f" {json.dumps(found.payload, default=repr)}" if found.payload else ""
    logger_here("prefect.events").info("Event %r of %r%s", event, found.resource.id, told)
    return found
