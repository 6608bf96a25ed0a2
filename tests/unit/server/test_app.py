"""The application's own route table: roles, errors, headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.access import ENDED, OPEN, ROLES, RUN
from anabranch.core.errors import ConfigurationError, RecordsError, RunTakenError, ServiceError
from anabranch.records.service.memory import memory_service
from anabranch.server import declared, guard
from anabranch.server.app import PREFIX, make_app
from tests.servers import served
from tests.unit.server.asking import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI


@pytest.fixture
def app() -> Iterator[FastAPI]:
    service = memory_service()
    yield make_app(service, version="1.4.0")
    service.close()


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with served(app) as address:
        yield address


def test_every_route_says_roles_that_there_are(app: FastAPI) -> None:
    assert len(app.routes) > 40
    for route in app.routes:
        assert isinstance(route, guard.Guarded)
        roles = (route.openapi_extra or {})[declared.ROLES]
        assert roles
        assert set(roles) <= {*ROLES, RUN, ENDED, OPEN}, route.path
        assert (OPEN in roles) == (route.path in (f"{PREFIX}/health", f"{PREFIX}/health/ready")), route.path


def test_an_application_with_a_route_without_a_role_does_not_start(app: FastAPI) -> None:
    with pytest.raises(ConfigurationError, match="/x has no role"):
        app.get("/x")(lambda: None)
    app.mount("/files", make_app(memory_service()))
    with pytest.raises(ConfigurationError, match="/files"):
        guard.check(app.routes)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ServiceError("no such pool"), 400, "anabranch:service"),
        (RunTakenError("another driver"), 409, "anabranch:taken"),
        (RecordsError("locked"), 503, "anabranch:records"),
        (ZeroDivisionError("inner thoughts"), 500, "anabranch:server"),
    ],
)
def test_an_error_is_a_problem_with_a_type(
    app: FastAPI, address: str, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, kind: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(app.state.world.service.pools, "all", fail, raising=True)
    heard = ask(address, "GET", f"{PREFIX}/pools")
    assert (heard.status, heard.json["type"], heard.json["status"]) == (status, kind, status)
    assert heard.headers["content-type"] == "application/problem+json"
    assert ("inner thoughts" in heard.json["detail"]) is False
    assert (str(error) in heard.json["detail"]) is (status != 500)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/nothing", None, 404, "Not Found"),
        ("PATCH", "/pools", None, 405, "Method Not Allowed"),
        ("PUT", "/pools", {}, 400, "body.name: Field required"),
        ("PUT", "/pools", {"name": "a", "slots": "many"}, 400, "body.slots"),
        ("PUT", "/pools", b"{", 415, "application/json"),
        ("GET", "/deployments?limit=201", None, 400, "query.limit"),
        ("GET", "/deployments/one?name=etl/daily", None, 404, "there is no deployment 'etl/daily'"),
        ("POST", "/runs", {"orders": [{"deployment": "a"}] * 1001}, 400, "1 to 1,000 runs"),
    ],
)
def test_a_request_that_does_not_fit_hears_why(
    address: str, method: str, path: str, body: Any, status: int, said: str
) -> None:
    heard = ask(address, method, f"{PREFIX}{path}", body)
    assert heard.status == status
    assert said in heard.json["detail"]


def test_fields_that_a_server_does_not_know_are_ignored_with_a_warning(address: str) -> None:
    heard = ask(address, "PUT", f"{PREFIX}/pools", {"name": "gpu", "mood": "good", 'a"b': 1})
    assert heard.status == 200
    assert heard.headers["warning"] == '299 anabranch "ignored, since this server does not know it: a\'b, mood"'
    assert "warning" not in ask(address, "PUT", f"{PREFIX}/pools", {"name": "gpu"}).headers


def test_answers_say_the_version_and_what_browsers_may_do(address: str) -> None:
    for path in ("/health", "/nothing"):
        headers = ask(address, "GET", f"{PREFIX}{path}").headers
        assert headers["anabranch-version"] == "1.4.0"
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_a_client_more_than_two_minors_older_is_told_so(address: str) -> None:
    assert ask(address, "GET", f"{PREFIX}/pools", Anabranch_Version="1.2.9").status == 200
    heard = ask(address, "GET", f"{PREFIX}/pools", Anabranch_Version="1.1.9")
    assert heard.status == 400
    assert "this server has version 1.4.0" in heard.json["detail"]


def test_a_base_path_is_before_all_routes() -> None:
    service = memory_service()
    with served(make_app(service, base_path="/tools/anabranch/")) as address:
        assert ask(address, "GET", f"/tools/anabranch{PREFIX}/health").status == 200
        assert ask(address, "GET", f"{PREFIX}/health").status == 404
    service.close()
