"""Every route and method of the application: without a key, with a wrong, an expired, a revoked and a too small one.

The routes are those of the application's own table, so that a new one is asked too.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.access import ADMIN, AGENT, EDITOR, ENDED, OPEN, OPERATOR, RUN, VIEWER
from anabranch.records.service.memory import memory_service
from anabranch.server import declared, doorway
from anabranch.server.app import PREFIX, make_app
from anabranch.testing import ManualClock
from tests.begun import begun
from tests.servers import served
from tests.unit.server.asking import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from anabranch.core.service import Service

ROLES = (VIEWER, OPERATOR, EDITOR, ADMIN, AGENT, RUN)


class Guarded:
    """A server with keys of each role."""

    def __init__(self, app: FastAPI, service: Any, address: str, clock: ManualClock) -> None:
        self.app, self.service, self.address, self.clock = app, service, address, clock
        self.keys = {role: service.keys.make(role, role).text for role in ROLES if role != RUN}
        self.keys[RUN] = service.keys.of_run("r", begun(service, "r"))
        self.keys[ENDED] = service.keys.of_run("over", begun(service, "over"))
        service.claims.could_not_begin("over", 1, "its flow does not load")

    def status(self, method: str, path: str, key: str = "", **headers: str) -> int:
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return ask(self.address, method, path, None, **headers).status

    def routes(self) -> list[tuple[str, str, list[str]]]:
        """Each method and path with its roles."""
        return [
            (method, route.path, route.openapi_extra[declared.ROLES])
            for route in self.app.routes
            for method in sorted(route.methods)
        ]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def guarded(clock: ManualClock) -> Iterator[Guarded]:
    service = memory_service(clock=clock)
    app = make_app(service, keys=service.keys, here_only=False)
    with served(app) as address:
        yield Guarded(app, service, address, clock)
    service.close()


@pytest.fixture(autouse=True)
def many_wrong_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.server.guard.WRONG", 10_000)


def test_no_route_answers_without_a_good_key(guarded: Guarded) -> None:
    short, gone = guarded.service.keys.make("short", ADMIN, expires=1010.0), guarded.service.keys.make("gone", ADMIN)
    assert guarded.status("GET", f"{PREFIX}/access/me", short.text) == 200
    guarded.app.state.gate.forget()
    guarded.clock.advance(10)
    guarded.service.keys.revoke("gone")
    wrong = [{}, *({"Authorization": text} for text in (
        "", "Bearer", "Bearer ", "Bearer x", f"Basic {guarded.keys[ADMIN]}", guarded.keys[ADMIN],
        f"Bearer {guarded.keys[ADMIN][:-1]}", f"Bearer {short.text}", f"Bearer {gone.text}",
        f"Bearer {guarded.keys[RUN]}x", "Bearer " + "a" * 60_000,
    ))]  # fmt: skip
    for method, path, roles in guarded.routes():
        for headers in wrong:
            status = guarded.status(method, path, **headers)
            assert (status == 200) if OPEN in roles else (status in (401, 400)), (method, path, headers, status)
            assert status != 400 or "aaaa" in str(headers), (method, path)  # uvicorn refuses a head of that size


def test_a_key_opens_the_routes_of_its_role_and_no_others(guarded: Guarded) -> None:
    for role, key in guarded.keys.items():
        for method, path, roles in guarded.routes():
            status = guarded.status(method, path, key)
            if role in roles or OPEN in roles:
                assert status not in (401, 403), (role, method, path, status)
            else:
                assert status == 403, (role, method, path, status)


def test_methods_that_a_route_does_not_have_are_refused(guarded: Guarded) -> None:
    known = {(method, path) for method, path, _ in guarded.routes()}
    for path in {path for _, path in known}:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "PROPFIND"):
            if (method, path) not in known:
                assert guarded.status(method, path, guarded.keys[ADMIN]) in (400, 404, 405), (method, path)


@pytest.mark.parametrize("path", [
    "/../../etc/passwd", "/api/v1/../../etc/passwd", "/api/v1/..%2f..%2fetc/passwd", "/api/v1/pools/..", "/",
    "//api/v1/pools", "/api/v1/health/../pools", "/api/v1/health%2f..%2fpools", "/api/v1/POOLS", "/api/v1/pools/",
    "/pools/health", "/api/v1/pools/health", "/api/v1/pools;health", "/openapi.json", "/docs", "/redoc",
])  # fmt: skip
def test_no_spelling_of_a_path_opens_anything(guarded: Guarded, path: str) -> None:
    assert guarded.status("GET", path) in (401, 404)
    assert guarded.status("GET", path, guarded.keys[ADMIN]) == 404


def test_a_revoked_key_ends_at_once(guarded: Guarded) -> None:
    assert guarded.status("GET", f"{PREFIX}/pools", guarded.keys[VIEWER]) == 200
    path = f"{PREFIX}/access/keys/one?key=viewer"
    assert guarded.status("DELETE", path, guarded.keys[ADMIN]) == 200
    assert guarded.status("GET", f"{PREFIX}/pools", guarded.keys[VIEWER]) == 401


def test_an_address_with_many_wrong_keys_waits(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.server.guard.WRONG", 3)
    assert [guarded.status("GET", f"{PREFIX}/pools", "ab_wrong") for _ in range(5)] == [401, 401, 401, 503, 503]
    assert guarded.status("GET", f"{PREFIX}/pools") == 401  # no key is none that is wrong


def test_wrong_keys_do_not_shut_out_the_good_ones_of_their_address(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many machines may stand behind one address."""
    monkeypatch.setattr("anabranch.server.guard.WRONG", 3)
    for _ in range(5):
        guarded.status("GET", f"{PREFIX}/pools", "ab_wrong")
    for role in (VIEWER, AGENT):  # none of them has been looked up before
        assert guarded.status("GET", f"{PREFIX}/pools", guarded.keys[role]) == 200
    assert guarded.status("GET", f"{PREFIX}/pools", "ab_wrong") == 503


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "file://"])
def test_a_page_of_another_site_cannot_speak_for_a_browser(guarded: Guarded, origin: str) -> None:
    for method, path, _ in guarded.routes():
        assert guarded.status(method, path, guarded.keys[ADMIN], Origin=origin) == 403


@pytest.fixture
def keyless() -> Iterator[str]:
    service: Service = memory_service()
    with served(make_app(service)) as address:
        yield address
    service.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_without_keys_a_name_that_leads_here_from_elsewhere_is_refused(keyless: str, host: str) -> None:
    for path in ("/pools", "/health", "/nothing"):
        assert ask(keyless, "GET", f"{PREFIX}{path}", None, Host=host).status == 403
    for good in ("localhost", "localhost:4200", "127.0.0.1:1", "[::1]:4200"):
        assert ask(keyless, "GET", f"{PREFIX}/pools", None, Host=good).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_a_browser_writes_nothing(keyless: str, kind: str) -> None:
    """Forms of other sites are sent without being asked about; JSON is not."""
    sent = b'{"name": "evil"}'
    assert ask(keyless, "PUT", f"{PREFIX}/pools", sent, Content_Type=kind).status == 415
    assert b"evil" not in ask(keyless, "GET", f"{PREFIX}/pools").text


def test_a_body_of_100_mb_is_refused_before_it_is_read(guarded: Guarded) -> None:
    """Its length says so; or it says none and is read no further than allowed."""
    key = guarded.keys[ADMIN]
    head = f" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    for path in ("/pools", "/runs", "/claims"):
        whole = f"PUT {PREFIX}{path}{head}Content-Length: 100000000\r\n\r\n"
        assert b" 413 " in spoken(guarded.address, whole.encode())
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    said = spoken(guarded.address, f"PUT {PREFIX}/pools{head}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, 100)
    assert b" 413 " in said or said == b""  # the server has closed while this side was still sending
    assert guarded.status("GET", f"{PREFIX}/pools", key) == 200


def test_a_body_without_a_key_is_not_read(guarded: Guarded) -> None:
    head = f"PUT {PREFIX}/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    assert b" 401 " in spoken(guarded.address, head.encode())


def spoken(address: str, head: bytes, more: bytes = b"", times: int = 0) -> bytes:
    """Send bytes; gives the first line of the answer, or nothing where the server has hung up."""
    host, _, port = address.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        try:
            line.sendall(head)
            for _ in range(times):
                line.sendall(more)
            return line.makefile("rb").readline()
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_the_bounds_are_those_that_are_promised() -> None:
    assert doorway.LARGEST == 8 * 1024 * 1024
