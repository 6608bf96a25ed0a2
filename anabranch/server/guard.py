"""The one place where a route's role is checked: before its body is read, for every route of the application."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from anabranch.core.access import ENDED, OPEN, PEOPLE, RUN, Access
from anabranch.core.errors import AccessError, ConfigurationError
from anabranch.records.service import wire
from anabranch.server import audit
from anabranch.server.declared import AUDITED, ROLES, WAKES
from anabranch.server.problems import answer
from anabranch.server.refusals import Busy, Forbidden

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from fastapi import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from anabranch.core.access import Keys

FRESH = 5.0  # seconds for which a key that was looked up counts as good
_REMEMBERED = 10_000  # keys, so that wrong ones cannot fill the memory
WRONG, WRONG_SECONDS = 20, 60.0  # so many wrong keys of one address in so many seconds; more hear to wait
_NEEDED = "a key is needed: `anabranch login`, or the setting api_key, or a header Authorization: Bearer KEY"


class Gate:
    """Finds what a request may do by its key, and remembers it for a moment.

    Args:
        keys: None: no key is asked for.
        always: whether a key is asked for even while there is none.
    """

    def __init__(self, keys: Keys | None, *, always: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._always = always
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Access]] = {}
        self._any: tuple[float, bool] = (0.0, False)
        self._wrong: dict[str, list[float]] = {}

    async def access(self, header: str, client: str) -> Access:
        """Return what the sender of a request may do; a good key counts, whatever others at its address send.

        Raises:
            AccessError: there is no key, or a wrong one.
            Busy: a wrong one, and too many came from this client.
        """
        keys = self._keys
        if keys is None or not await self._asked_for(keys):
            return Access()
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise AccessError(_NEEDED)
        now = self._monotonic()
        if found := self._known.get(text):
            if now < found[0]:
                return found[1]
            del self._known[text]
        try:
            access = await run_in_threadpool(keys.access, text)
        except AccessError:
            self._note_wrong(client)
            raise
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[text] = (now + FRESH, access)
        return access

    def forget(self) -> None:
        """Look all keys up anew: one was made or revoked."""
        self._known.clear()
        self._any = (0.0, False)

    def _note_wrong(self, client: str) -> None:
        """Count a wrong key. Raises Busy where too many came from this client."""
        now = self._monotonic()
        recent = [when for when in self._wrong.get(client, ()) if now - when < WRONG_SECONDS]
        if len(recent) >= WRONG:
            raise Busy(f"{len(recent)} wrong keys came from {client} in the last minute: try again in a minute")
        if len(self._wrong) >= _REMEMBERED:
            self._wrong.clear()
        self._wrong[client] = [*recent, now]

    async def _asked_for(self, keys: Keys) -> bool:
        """Return whether keys are asked for: on this machine alone, not before there is one."""
        if self._always:
            return True
        until, found = self._any
        if not found and self._monotonic() >= until:
            found = await run_in_threadpool(keys.any)
            self._any = (self._monotonic() + FRESH, found)
        return found


class Guarded(APIRoute):
    """A route with a role, which is checked before anything of a request is read; one without a role is none."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options.get("openapi_extra") or {}
        if not extra.get(ROLES):
            raise ConfigurationError(f"the route {path} has no role: nobody would check its callers")
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        extra = self.openapi_extra or {}
        roles, wakes, audited = frozenset(extra[ROLES]), extra.get(WAKES, False), extra.get(AUDITED, False)
        wanted = self.body_field.field_info.annotation if self.body_field else None

        async def guarded(request: Request) -> Response:
            try:
                request.state.access = await admitted(request, roles)
                if self.body_field and not _json(request):
                    raise HTTPException(415, "the body must be JSON: Content-Type application/json")
                response = await handle(request)
                body = await request.json() if wanted is not None else None
                if wanted is not None:
                    _warn(response, wire.unknown(wanted, body))
                if audited:
                    await _note(request, f"{request.method} {self.path}", body)
            except Exception as error:  # here, and not further out, where uvicorn would tell it once more
                return answer(error)
            if wakes:
                request.app.state.world.waiting.ring()
            return response

        return guarded


async def admitted(request: Request, roles: frozenset[str]) -> Access:
    """Return what the sender of a request may do, if it has one of these roles."""
    if OPEN in roles:
        return Access(role=OPEN)
    client = request.client.host if request.client else ""
    gate: Gate = request.app.state.gate
    access = await gate.access(request.headers.get("authorization", ""), client)
    if access.role not in roles:
        if access.role == ENDED and RUN in roles:
            raise Forbidden(f"{request.method} {request.url.path}: run {access.run} has ended, or has another driver")
        named = ", ".join(sorted(roles - {ENDED}))
        raise Forbidden(f"{request.method} {request.url.path} is for {named}; this key's role is {access.role}")
    return access


def _warn(response: Response, names: list[str]) -> None:
    """Say in an answer which fields were not known."""
    if names:
        told = ", ".join(sorted(set(names))[:10]).encode("ascii", "replace").decode().replace('"', "'")
        response.headers["Warning"] = f'299 anabranch "ignored, since this server does not know it: {told}"'


async def _note(request: Request, what: str, body: Any) -> None:
    """Note a person's write for the audit."""
    keys: Keys | None = request.app.state.world.keys
    access: Access = request.state.access
    if keys is not None and access.name and access.role in PEOPLE:
        await run_in_threadpool(keys.note, access.name, what, audit.told(request.url.query, body))


def _json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def check(routes: Sequence[BaseRoute]) -> None:
    """See that each route of an application is guarded. Raises ConfigurationError."""
    for route in routes:
        if not isinstance(route, Guarded):
            raise ConfigurationError(f"the route {getattr(route, 'path', route)!r} has no role: it is none of `Routes`")
