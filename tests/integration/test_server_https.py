"""A server with TLS of its own, and one behind a proxy that has it: programs reach both by their whole address."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.https import certificate, proxy_to, served_with_tls
from tests.integration.homes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.https import Certificate

pytestmark = pytest.mark.timeout(250)
PROGRAM = """
from anabranch import flow, task

@task
def double(x):
    return 2 * x

@flow
def doubled():
    return sum(double.map(range(20)).result())

print(doubled())
"""


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """A certificate that this program and those that it starts trust."""
    made = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    return made


@pytest.fixture
def home(tmp_path: Path, trusted: Certificate) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.end()


def person_of(home: Home, folder: Path, address: str, **environ: str) -> Home:
    """Return the home of a person with a key, whose record is at an address."""
    folder.mkdir(exist_ok=True)
    key = home.run("key", "create", folder.name, "--role", "admin").stdout.strip()
    return Home(folder / "person", ANABRANCH_RECORDS=address, ANABRANCH_API_KEY=key, **environ)


def runs_through(person: Home, folder: Path) -> None:
    (folder / "program.py").write_text(PROGRAM)
    person.environ["PYTHONPATH"] = str(folder) + ":" + person.environ["PYTHONPATH"]
    done = person.run("run", str(folder / "program.py") + ":doubled")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(person.run("runs", "--json").stdout)["runs"]
    assert {(row["flow"], row["state"]) for row in rows} == {("doubled", "Completed")}


def test_a_server_with_a_certificate(home: Home, trusted: Certificate, tmp_path: Path) -> None:
    address = home.start("--certificate", str(trusted.path), "--certificate-key", str(trusted.key))
    assert address.startswith("https://127.0.0.1:")
    person = person_of(home, tmp_path, address)
    runs_through(person, tmp_path)
    wary = person_of(home, tmp_path / "wary", address, SSL_CERT_FILE="/dev/null")
    refused = wary.run("runs")
    assert refused.returncode != 0
    assert "certificate verify failed" in refused.stderr
    assert "Traceback" not in refused.stderr
    # A server may have a certificate for another name than the one at which it asks itself.
    home.environ["SSL_CERT_FILE"] = "/dev/null"
    status = home.run("server", "status")
    assert status.returncode == 0, status.stderr
    assert address in status.stdout


def test_a_server_behind_a_proxy_under_a_path(home: Home, trusted: Certificate, tmp_path: Path) -> None:
    """The proxy passes the whole path on, as the page's nginx does."""
    assert home.run("key", "create", "first", "--role", "admin").returncode == 0
    inner = home.start("--behind-proxy", "--base-path", "/flows/")
    assert inner.endswith("/flows")
    seen: list[str] = []
    with served_with_tls(proxy_to(inner, seen), trusted) as outer:
        runs_through(person_of(home, tmp_path, f"{outer}/flows"), tmp_path)
        lost = person_of(home, tmp_path / "lost", outer).run("runs")
    assert seen
    assert all(path.startswith(("/flows/api/v1/", "/api/v1/")) for path in seen)
    assert lost.returncode != 0
    assert "Traceback" not in lost.stderr


def test_a_proxy_that_takes_the_path_off(home: Home, trusted: Certificate, tmp_path: Path) -> None:
    assert home.run("key", "create", "first", "--role", "admin").returncode == 0
    seen: list[str] = []
    with served_with_tls(proxy_to(home.start("--behind-proxy"), seen, cut="/flows"), trusted) as outer:
        runs_through(person_of(home, tmp_path, f"{outer}/flows"), tmp_path)
    assert seen
    assert all(path.startswith("/flows/api/v1/") for path in seen)
