"""What is looked at before any route: the size of bodies, Host and Origin, versions; and the headers of all answers.

Rates are bounded by places, not by counting: so many requests are under way at once and the rest hear "busy" with
`Retry-After`. Agents that wait for work have places of their own, and the look whether the server lives needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from anabranch.records.service.problems import ACCESS, REQUEST
from anabranch.server.problems import answer, problem
from anabranch.server.refusals import Busy
from anabranch.server.versions import HEADER, served

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 8 * 1024 * 1024  # bytes of a body
AT_ONCE = 500  # requests under way, without agents that wait
WAITING = 5_000  # agents that wait; each costs a connection, and neither a thread nor one to the database
_WAITS, _ALWAYS = "/claims", "/health"
_HERE = {"localhost", "127.0.0.1", "::1"}
_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


class _Places:
    """So many requests of a kind may be under way at once.

    Args:
        bound: None: any number.
        said: what they are and do.
    """

    def __init__(self, bound: int | None, said: str) -> None:
        self.taken = 0
        self._bound = bound
        self._said = said

    def refused(self) -> Any:
        """Return the answer for a request that finds no place; None: there is one."""
        if self._bound is None or self.taken < self._bound:
            return None
        return answer(Busy(f"{self._bound:,} {self._said}: try again in a moment"))


class Doorway:
    """The outermost layer of an application.

    Args:
        version: of this anabranch.
        here_only: whether Host and Origin must name this machine: no key is asked for, so a page of another site that a
            browser of this machine shows must not be able to write.
        hosts: further names that Host and Origin may have.
        place: the path that all routes begin with.
    """

    def __init__(
        self, app: ASGIApp, version: str, here_only: bool, hosts: frozenset[str] = frozenset(), place: str = ""
    ) -> None:
        self._app = app
        self._version = version
        self._here_only = here_only
        self._hosts = _HERE | hosts
        self._places = {f"{place}{_WAITS}": _Places(WAITING, "agents wait"), f"{place}{_ALWAYS}": _Places(None, "")}
        self._others = _Places(AT_ONCE, "requests are under way")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        send = self._with_headers(send)
        places = self._places.get(scope["path"], self._others)
        refused = self._refused(headers) or places.refused()
        if refused is not None:
            await refused(scope, receive, send)
            return
        places.taken += 1
        try:
            await self._app(scope, _bounded(receive), send)
        finally:
            places.taken -= 1

    def _refused(self, headers: MutableMapping[str, str]) -> Any:
        """Return the answer for a request that goes no further; None: it does."""
        if not served(headers.get(HEADER.lower(), ""), self._version):
            told = f"this server has version {self._version} and serves clients that are at most two minors older"
            return problem(400, REQUEST, "The client is too old", told)
        if (trouble := self._foreign(headers)) is not None:
            return problem(403, ACCESS, "Not from here", trouble)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST:
            return problem(413, REQUEST, "Too large", _TOO_LARGE, Connection="close")
        return None

    def _foreign(self, headers: MutableMapping[str, str]) -> str | None:
        """Return why Host or Origin are refused: a page of another site must not speak for a person's browser."""
        host = _host_of(f"//{headers.get('host', '')}")
        if self._here_only and host not in self._hosts:
            return f"Host {host!r} is not this machine: without keys only this machine is served"
        origin = headers.get("origin")
        if origin is None:
            return None
        if _host_of(origin) in (self._hosts if self._here_only else {host}):
            return None
        return f"Origin {origin!r} is another site's"

    def _with_headers(self, send: Send) -> Send:
        ours = [
            (HEADER.lower().encode(), self._version.encode()),
            (b"content-security-policy", _POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ]

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        return sent


_TOO_LARGE = f"a body has at most {LARGEST:,} bytes"


def _bounded(receive: Receive) -> Receive:
    """Return a `receive` that stops reading past `LARGEST`, for bodies that do not say their length."""
    seen = 0

    async def received() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > LARGEST:
                raise HTTPException(413, _TOO_LARGE, {"Connection": "close"})
        return message

    return received


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
