"""Deploy, order, claim, drive and record, each with a key of its own, through one server."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from anabranch.core.orders import OrderState
from anabranch.records.service.remote import RemoteService
from tests.integration.homes import PATIENCE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(250), pytest.mark.sampled(3, "a server, agents and drivers")]
FLOW = """
from anabranch import flow, task

@task
def double(x):
    return 2 * x

@flow
def doubled(n: int = 10):
    return sum(double.map(range(n)).result())
"""
DEPLOY = "from doubled import doubled; doubled.deploy('d', work_pool_name='default')"
ORDER = "import anabranch; print(anabranch.run_deployment('doubled/d', parameters={'n': 100}, timeout=0).id)"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.end()


def test_each_has_a_key_for_its_own_part(home: Home, tmp_path: Path) -> None:
    """An editor deploys, an operator orders, an agent claims for its pool, and the driver has a key of its run."""
    address = home.start()
    keys = {
        role: home.run("key", "create", role, "--role", role, *pool).stdout.strip()
        for role, pool in (("editor", ()), ("operator", ()), ("agent", ("--pool", "default")))
    }
    people = {role: Home(tmp_path / role) for role in keys}
    for role, person in people.items():
        assert person.run("login", address, "--key", keys[role]).returncode == 0
    (tmp_path / "doubled.py").write_text(FLOW)

    def python(role: str, code: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        environ = {**people[role].environ, "PYTHONPATH": f"{tmp_path}:{sys.path[0]}"}
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)

    assert "this key's role is operator" in python("operator", DEPLOY).stderr
    assert python("editor", DEPLOY).returncode == 0
    ordered = python("operator", ORDER)
    run = ordered.stdout.strip()
    assert run, ordered.stderr
    agent = people["agent"].run("agent", "start", "--run-once")
    assert agent.returncode == 0, agent.stderr
    rows = json.loads(people["operator"].run("runs", "--json").stdout)["runs"]
    assert [(row["id"], row["state"]) for row in rows] == [(run, "Completed")], agent.stdout + agent.stderr
    remote = RemoteService(address, keys["operator"])
    order = remote.orders.find(run)
    remote.close()
    assert order is not None
    assert (order.state, order.by) == (OrderState.DONE, "operator")
    assert not [key for key in keys.values() if key in agent.stdout + agent.stderr]
