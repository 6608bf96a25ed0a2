"""`schedules`: when runs of a deployment are ordered; and the ticks, for services elsewhere."""

from __future__ import annotations

from anabranch.core.access import ADMIN, EDITOR, OPERATOR, VIEWER
from anabranch.core.deployments import ScheduleRow
from anabranch.records.service.requests import SetActive, Ticks
from anabranch.server.declared import Routes
from anabranch.server.pages import Limit
from anabranch.server.world import ServiceHere

ROUTES = Routes("schedules")


@ROUTES.add("GET", "", VIEWER)
def every(service: ServiceHere, deployment: str = "") -> list[ScheduleRow]:
    """List the schedules of a deployment (id or "flow/name"), or all."""
    return service.schedules.all(deployment)


@ROUTES.add("PUT", "", EDITOR)
def put(body: ScheduleRow, service: ServiceHere) -> ScheduleRow:
    """Add a schedule to its deployment, or change the one of this slug."""
    return service.schedules.put(body)


@ROUTES.add("PUT", "/one/active", OPERATOR)
def set_active(deployment: str, slug: str, body: SetActive, service: ServiceHere) -> bool:
    """Pause or resume a schedule by a person's word; null takes the word back."""
    return service.schedules.set_active(deployment, slug, body.active)


@ROUTES.add("DELETE", "/one", EDITOR)
def delete(deployment: str, slug: str, service: ServiceHere) -> bool:
    """Delete a schedule."""
    return service.schedules.delete(deployment, slug)


@ROUTES.add("GET", "/due", ADMIN)
def due(before: float, service: ServiceHere, limit: Limit = 200) -> list[ScheduleRow]:
    """List active schedules with a tick up to then (Unix seconds), the earliest first."""
    return service.schedules.due(before, limit)


@ROUTES.add("POST", "/tick", ADMIN, wakes=True, audited=False)
def tick(body: Ticks, service: ServiceHere) -> list[bool]:
    """Order the runs of schedules' ticks and move their cursors, of those that are still as they were read."""
    return service.schedules.tick_all(body.ticks)
