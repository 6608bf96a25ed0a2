"""Requests to an anabranch server, on kept-alive connections of the standard library.

One `HttpServer` serves all threads of a program: each request takes a spare connection, or makes one. All requests may
be sent twice: one on a kept-alive connection that turns out to be closed is sent again on a new one.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from anabranch.core import secrets
from anabranch.core.errors import ConfigurationError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "/api/v1"
VERSION = "Anabranch-Version"  # the header with the version of a client, and of a server
MSGPACK, JSON = "application/msgpack", "application/json"
CONNECT_SECONDS = 5.0
_SPARE = 4  # connections that are kept
_STALE = 50.0  # seconds without a request, after which a server may be about to close a connection
_LONGEST = 300  # characters of an answer in a message


def own_version() -> str:
    """Return the version of this anabranch; "" where none of its package is imported but this."""
    return str(getattr(sys.modules.get("anabranch"), "__version__", ""))


class Answer(NamedTuple):
    """The answer to a request; the names of its headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def why(self) -> str:
        """The sentence of an answer that refuses: the detail of problem JSON, or the beginning of its text."""
        text = self.body.decode("utf-8", "replace").strip()
        try:
            found = json.loads(text)
        except ValueError:
            return text[:_LONGEST]
        if isinstance(found, dict) and isinstance(found.get("detail"), str):
            return str(found["detail"])
        return text[:_LONGEST]


class HttpServer:
    """An anabranch server at an address; safe from any thread, and in forked copies.

    Args:
        address: "http://host:port" or "https://host", with a path where a proxy has put the server under one.
        key: of this program; "" for none. It never stands in a message.

    Attributes:
        name: the address, for messages.

    Raises:
        ConfigurationError: the address is none, or has a login in it.
    """

    def __init__(self, address: str, key: str = "") -> None:
        self.name = secrets.without_login(address).rstrip("/")
        try:
            parts = urlsplit(address)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigurationError(f"{self.name} is not the address of a server: {error}") from None
        if parts.scheme not in ("http", "https") or not self._host:
            raise ConfigurationError(
                f"{self.name} is not the address of a server: give http://host:port or https://host"
            )
        if parts.username or parts.password or parts.query:
            raise ConfigurationError(
                f"{self.name}: an address has no login and no query; the setting api_key has the key"
            )
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/")
        self._headers = {"Connection": "keep-alive", VERSION: own_version()}
        if key:
            secrets.note(key)
            self._headers["Authorization"] = f"Bearer {key}"
        self._spare: list[tuple[int, float, http.client.HTTPConnection]] = []  # process, time of the last request
        self._lock = threading.Lock()
        self._closed = False

    def ask(
        self, method: str, path: str, body: bytes = b"", *, kind: str = JSON, timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Send a request and return the answer, whatever its status.

        Args:
            path: below `PREFIX`, with its query.
            kind: the content type of body and answer.
            timeout: seconds without a byte of the answer; connecting has `CONNECT_SECONDS`.

        Raises:
            UnreachableError: there was no answer.
        """
        sent = {**self._headers, "Accept": kind, **(headers or {})}
        if body:
            sent["Content-Type"] = kind
        while True:
            connection, kept = self._taken()
            try:
                if connection.sock is None:
                    connection.connect()
                connection.sock.settimeout(timeout)
                connection.request(method, f"{self._base}{PREFIX}{path}", body or None, sent)
                found = connection.getresponse()
                answer = Answer(found.status, found.read(), {name.lower(): text for name, text in found.getheaders()})
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if kept and not isinstance(error, TimeoutError):
                    continue
                raise UnreachableError(f"the server at {self.name} cannot be reached: {_said(error)}") from error
            except BaseException:
                connection.close()
                raise
            self._give(connection, found.will_close)
            return answer

    def close(self) -> None:
        """Close the spare connections; from now on a request takes its connection along."""
        self._closed = True
        self.disconnect()

    def disconnect(self) -> None:
        """Close the spare connections: after an error they may be of no use any more."""
        with self._lock:
            spare, self._spare = self._spare, []
        for process, _, connection in spare:
            if process == os.getpid():
                connection.close()

    def _taken(self) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection, and whether it has been used before."""
        now, mine = time.monotonic(), os.getpid()
        with self._lock:
            while self._spare:
                process, used, connection = self._spare.pop()
                if process == mine and now - used < _STALE:
                    return connection, True
                if process == mine:
                    connection.close()
        if self._tls is not None:
            context = self._tls
            return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS, context=context), False
        return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS), False

    def _give(self, connection: http.client.HTTPConnection, ends: bool) -> None:
        with self._lock:
            if not ends and not self._closed and len(self._spare) < _SPARE:
                self._spare.append((os.getpid(), time.monotonic(), connection))
                return
        connection.close()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
