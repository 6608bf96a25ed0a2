"""`anabranch server`, `key` and `login`, as people start them: processes of their own."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.access import ADMIN, AGENT, VIEWER
from anabranch.core.errors import AccessError
from anabranch.core.orders import Agent, Pool
from anabranch.records.service.remote import RemoteService
from tests.integration.homes import PATIENCE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(250), pytest.mark.sampled(4, "a server for each")]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.end()


def test_a_server_starts_is_seen_and_stops(home: Home) -> None:
    assert home.run("server", "status").returncode == 1
    address = home.start()
    assert home.run("server", "status").stdout.startswith("anabranch ")
    second = home.run("server", "start")
    assert second.returncode == 1
    assert f"a server of this home runs already at {address}" in second.stderr
    assert "has ended" in home.run("server", "stop").stdout
    assert home.server is not None
    assert home.server.wait(PATIENCE) == 128 + signal.SIGTERM
    assert not (home.folder / "server.json").exists()
    assert "no server of this home runs" in home.run("server", "stop").stderr


def test_a_server_that_was_killed_is_not_taken_for_one_that_runs(home: Home) -> None:
    home.start()
    home.end()
    assert home.run("server", "status").returncode == 1
    home.start()


def test_agents_that_wait_do_not_keep_a_server_from_its_end(home: Home) -> None:
    remote = RemoteService(home.start())
    agent = remote.claims.join(Agent("", "a"))
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(_claimed(remote, agent.id)))
    waiting.start()
    assert home.server is not None
    home.server.send_signal(signal.SIGTERM)
    assert home.server.wait(PATIENCE) == 128 + signal.SIGTERM
    waiting.join(PATIENCE)
    assert answers
    remote.close()


def _claimed(remote: RemoteService, agent: str) -> Any:
    try:
        return remote.door.ask(list, "POST", "/claims", {"agent": agent, "places": 1, "wait": 25.0}, timeout=60.0)
    except Exception as error:  # it had not asked yet when the server ended
        return error


def test_a_port_in_use_is_named_with_the_way_out(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = home.run("server", "start", "--port", str(port))
    assert said.returncode == 1
    assert f"cannot listen at 127.0.0.1:{port}" in said.stderr
    assert "--port" in said.stderr


def test_a_record_of_a_newer_version_is_refused_with_both_versions(home: Home) -> None:
    home.run("key", "ls")
    with sqlite3.connect(home.folder / "records.db") as database:
        known = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute("PRAGMA user_version = 999")
    database.close()
    said = home.run("server", "start", "--port", "0")
    assert said.returncode == 1
    assert "schema version 999" in said.stderr
    assert f"versions up to {known}" in said.stderr


def test_others_reach_a_server_only_with_a_key_and_not_in_the_clear(home: Home) -> None:
    for words in (["--host", "0.0.0.0"], ["--behind-proxy"]):
        said = home.run("server", "start", "--port", "0", *words)
        assert said.returncode == 1
        assert "needs a key first: `anabranch key create NAME --role admin`" in said.stderr
    home.run("key", "create", "root", "--role", "admin")
    said = home.run("server", "start", "--port", "0", "--host", "0.0.0.0")
    assert said.returncode == 1
    assert "--behind-proxy" in said.stderr
    assert "serves" not in said.stderr  # nothing is told of a server that does not come
    assert "--insecure" in said.stderr
    home.start("--host", "0.0.0.0", "--insecure")


def test_a_login_with_a_key_reaches_the_service_and_the_audit_tells_it(home: Home, tmp_path: Path) -> None:
    address = home.start("--no-services")
    key = home.run("key", "create", "root", "--role", "admin").stdout.strip()
    other = Home(tmp_path / "other")
    refused = other.run("login", address, stdin=subprocess.DEVNULL)
    assert refused.returncode == 1
    assert "a key is needed" in refused.stderr
    assert not (other.folder / "config.toml").exists()
    assert "as root, admin" in other.run("login", address, "--key", key, "--profile", "prod").stdout
    assert (other.folder / "config.toml").stat().st_mode & 0o777 == 0o600
    other.run("profile", "use", "prod")
    made = other.run("key", "create", "fleet", "--role", "agent", "--pool", "default", "--expires", "90d")
    assert made.stdout.startswith("ab_")
    shown = other.run("key", "ls", "--json")
    assert {row["name"]: row["role"] for row in json.loads(shown.stdout)["keys"]} == {"root": ADMIN, "fleet": AGENT}
    assert made.stdout.strip() not in shown.stdout + other.run("config", "view").stdout
    remote = RemoteService(address, key)
    remote.pools.put(Pool("gpu"))
    notes = [(row.who, row.what.split()[0], row.details) for row in remote.keys.audit()]
    assert notes == [("root", "PUT", "name=gpu paused=False"), ("root", "POST", "name=fleet role=agent pool=default")]
    told = json.loads(other.run("key", "audit", "--json").stdout)
    assert [(row["who"], row["what"].split()[0], row["details"]) for row in told["audit"]] == notes
    assert (told["version"], told["shown"], told["more"]) == (1, 2, False)
    one = other.run("key", "audit", "--limit", "1")
    assert "name=gpu paused=False" in one.stdout
    assert "role=agent" not in one.stdout
    assert "--limit N shows more" in one.stderr
    assert home.run("key", "audit").stdout == other.run("key", "audit").stdout  # in the record itself, and over HTTP
    assert other.run("key", "revoke", "root").returncode == 0
    with pytest.raises(AccessError, match="'root' was revoked"):
        remote.pools.all()
    remote.close()


def test_viewers_see_and_do_not_write(home: Home) -> None:
    address = home.start("--no-services")
    root, key = (home.run("key", "create", name, "--role", name).stdout.strip() for name in (ADMIN, VIEWER))
    remote = RemoteService(address, key)
    assert remote.pools.all()
    with pytest.raises(AccessError, match="this key's role is viewer"):
        remote.pools.put(Pool("gpu"))
    remote.close()
    assert root


FLOW = """
from anabranch import flow, task

@task
def double(x):
    return 2 * x

@flow
def doubled():
    return sum(double.map(range(100)).result())

if __name__ == "__main__":
    print(doubled())
"""


def test_a_program_with_the_servers_address_is_recorded_there(home: Home, tmp_path: Path) -> None:
    """It runs as it is; its record is the server's, asked with the key of its settings."""
    address = home.start()
    key = home.run("key", "create", "ann", "--role", "operator").stdout.strip()
    script = tmp_path / "doubled.py"
    script.write_text(FLOW)
    other = Home(tmp_path / "other")
    other.run("login", address, "--key", key)
    done = subprocess.run([sys.executable, script], env=other.environ, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.strip() == "9900", done.stderr
    assert key not in done.stderr
    for asked in (other, home):
        (run,) = json.loads(asked.run("runs", "--json").stdout)["runs"]
        assert (run["flow"], run["state"]) == ("doubled", "Completed")
    assert not (other.folder / "records.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["config", "set", "PREFECT_API_URL=http://127.0.0.1:4200/api"],
        ["config", "set", "PREFECT_API_URL", "http://127.0.0.1:4200/api"],
        ["config", "set", "records", "http://127.0.0.1:4200"],
        ["backend", "server"],
    ],
)
def test_words_of_others_choose_a_server_too(home: Home, words: list[str]) -> None:
    assert home.run(*words).returncode == 0
    rows = json.loads(home.run("config", "view", "--json").stdout)
    assert next(row["value"] for row in rows if row["setting"] == "records") == "http://127.0.0.1:4200"
