"""`access`: keys, and the audit of writes."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from anabranch.core.access import ADMIN, AGENT, RUN, VIEWER, Access, AuditRow, Key, Keys, NewKey
from anabranch.core.errors import ServiceError
from anabranch.server.declared import Routes
from anabranch.server.pages import Limit
from anabranch.server.world import AccessHere, WorldHere

ROUTES = Routes("access")


@dataclass(slots=True)
class WantedKey:
    """A key to make; `expires` is in Unix seconds."""

    name: str
    role: str
    pool: str = ""
    expires: float | None = None


@ROUTES.add("GET", "/me", VIEWER, AGENT, RUN)
def me(access: AccessHere) -> Access:
    """Return what this key may do."""
    return access


@ROUTES.add("POST", "/keys", ADMIN)
def make(body: WantedKey, request: Request, world: WorldHere) -> NewKey:
    """Make a key; its text is shown this once."""
    made = _keys(world.keys).make(body.name, body.role, pool=body.pool, expires=body.expires)
    request.app.state.gate.forget()
    return made


@ROUTES.add("GET", "/keys", ADMIN)
def every(world: WorldHere) -> list[Key]:
    """List keys."""
    return _keys(world.keys).all()


@ROUTES.add("DELETE", "/keys/one", ADMIN)
def revoke(key: str, request: Request, world: WorldHere) -> bool:
    """End the keys of this id or name."""
    ended = _keys(world.keys).revoke(key)
    request.app.state.gate.forget()
    return ended


@ROUTES.add("GET", "/audit", ADMIN)
def audit(world: WorldHere, before: int | None = None, limit: Limit = 200) -> list[AuditRow]:
    """List writes that were made through servers, newest first."""
    return _keys(world.keys).audit(before=before, limit=limit)


def _keys(keys: Keys | None) -> Keys:
    if keys is None:
        raise ServiceError("this server has no keys")
    return keys
