"""`health`: whether the server lives, whether its record can be used, and what its routes are."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from anabranch.core.access import AGENT, OPEN, RUN, VIEWER
from anabranch.server.declared import Routes
from anabranch.server.world import ServiceHere

ROUTES = Routes("health")


@ROUTES.add("GET", "", OPEN)
async def alive() -> dict[str, str]:
    """Say that the server lives; nothing is asked of the record."""
    return {"status": "ok"}


@ROUTES.add("GET", "/ready", OPEN)
def ready(service: ServiceHere) -> dict[str, str]:
    """Say that the record can be used; a problem of status 503 where it cannot."""
    service.pools.all()
    return {"status": "ok"}


@ROUTES.add("GET", "/openapi.json", VIEWER, AGENT, RUN)
def document(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document of this server."""
    described: dict[str, Any] = request.app.openapi()
    return described
