"""`access`: keys, and the audit of writes."""

from __future__ import annotations

from fastapi import Request

from anabranch.core.access import ADMIN, AGENT, ENDED, RUN, VIEWER, Access, AuditRow, Key, NewKey
from anabranch.records.service.requests import WantedKey
from anabranch.server.declared import Routes
from anabranch.server.pages import Limit
from anabranch.server.world import AccessHere, WorldHere

ROUTES = Routes("access")


@ROUTES.add("GET", "/me", VIEWER, AGENT, RUN, ENDED)
def me(access: AccessHere) -> Access:
    """Return what this key may do."""
    return access


@ROUTES.add("POST", "/keys", ADMIN)
def make(body: WantedKey, request: Request, world: WorldHere) -> NewKey:
    """Make a key; its text is shown this once."""
    made = world.service.keys.make(body.name, body.role, pool=body.pool, expires=body.expires)
    request.app.state.gate.forget()
    return made


@ROUTES.add("GET", "/keys", ADMIN)
def every(world: WorldHere) -> list[Key]:
    """List keys."""
    return world.service.keys.all()


@ROUTES.add("DELETE", "/keys/one", ADMIN)
def revoke(key: str, request: Request, world: WorldHere) -> bool:
    """End the keys of this id or name."""
    ended = world.service.keys.revoke(key)
    request.app.state.gate.forget()
    return ended


@ROUTES.add("GET", "/audit", ADMIN)
def audit(world: WorldHere, before: int | None = None, limit: Limit = 200) -> list[AuditRow]:
    """List writes that were made through servers, newest first."""
    return world.service.keys.audit(before=before, limit=limit)
