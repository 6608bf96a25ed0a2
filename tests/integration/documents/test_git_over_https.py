"""A repository behind https and a token: git gets the token, and nobody else sees it."""

from __future__ import annotations

import os
import subprocess
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import FetchError
from anabranch.documents.storage.fetch import fetch
from tests.https import certificate, served_with_tls
from tests.integration.documents.repositories import Repository

if TYPE_CHECKING:
    from pathlib import Path

    from tests.https import Certificate

TOKEN = "ghp_a-token-of-the-team"
LOGIN = "Basic " + b64encode(f"x-access-token:{TOKEN}".encode()).decode()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    made = certificate(tmp_path)
    monkeypatch.setenv("GIT_SSL_CAINFO", str(made.path))
    return made


def host(folder: Path, seen: list[tuple[str, str]]) -> type[BaseHTTPRequestHandler]:
    """Return the handler of a host that gives repositories in a folder to those with the token.

    Args:
        seen: takes the path and the login of each request.
    """

    class Host(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            seen.append((self.path, self.headers.get("Authorization", "")))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if seen[-1][1] != LOGIN:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            given = {
                "GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
                "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)), "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            }  # fmt: skip
            done = subprocess.run(
                ["git", "http-backend"], env={**os.environ, **given}, input=body, capture_output=True, check=True
            )
            head, _, data = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None: ...

    return Host


def elsewhere(target: list[str], seen: list[tuple[str, str]]) -> type[BaseHTTPRequestHandler]:
    """Return the handler of a host that sends everybody to another one."""

    class Elsewhere(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization", "")))
            self.send_response(301)
            self.send_header("Location", target[0] + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    return Elsewhere


def test_a_token_opens_a_repository(tmp_path: Path, trusted: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    commit = Repository(tmp_path / "flows").commit(part__loading="x = 1")
    seen: list[tuple[str, str]] = []
    started: list[str] = []
    run = subprocess.run

    def noted(words: Any, **given: Any) -> Any:
        started.append(repr(words))
        return run(words, **given)

    monkeypatch.setattr(subprocess, "run", noted)
    with served_with_tls(host(tmp_path, seen), trusted) as address:
        reference = {"git": f"{address}/flows/.git", "token": "THE_TOKEN", "ref": "main"}
        folder, digest = fetch(reference, tmp_path / "cache")
        assert folder is not None
        assert (folder / "part" / "loading").read_text() == "x = 1"
        assert digest == f"git:{commit}"
        assert TOKEN not in (folder / ".git" / "config").read_text()
        assert not [words for words in started if TOKEN in words or LOGIN in words]

        monkeypatch.setenv("THE_TOKEN", "ghp_a-token-that-is-over")
        with pytest.raises(FetchError) as refused:
            fetch(reference, tmp_path / "other-cache")
        assert "ghp_" not in str(refused.value)
        assert "git could not fetch" in str(refused.value)
    assert {login for _, login in seen} >= {LOGIN}


def test_a_host_that_is_not_trusted_gets_no_token(
    tmp_path: Path, trusted: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    monkeypatch.delenv("GIT_SSL_CAINFO")
    seen: list[tuple[str, str]] = []
    with served_with_tls(host(tmp_path, seen), trusted) as address, pytest.raises(FetchError, match="certificate"):
        fetch({"git": f"{address}/flows/.git", "token": "THE_TOKEN", "ref": "main"}, tmp_path / "cache")
    assert seen == []


def test_a_host_to_which_another_leads_gets_no_token(
    tmp_path: Path, trusted: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    Repository(tmp_path / "flows").commit(loading="x = 1")
    first: list[tuple[str, str]] = []
    second: list[tuple[str, str]] = []
    target: list[str] = []
    with (
        served_with_tls(elsewhere(target, first), trusted) as outer,
        served_with_tls(host(tmp_path, second), trusted) as inner,
    ):
        target.append(inner)
        with pytest.raises(FetchError):
            fetch({"git": f"{outer}/flows/.git", "token": "THE_TOKEN", "ref": "main"}, tmp_path / "cache")
    assert LOGIN in {login for _, login in first}
    assert {login for _, login in second} <= {""}
