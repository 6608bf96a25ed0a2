"""`anabranch agent start|ls`, as typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch.core.orders import Agent
from tests.faults.ordering import Orders
from tests.waiting import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(250)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[Orders]:
    one = Orders(tmp_path)
    yield one
    one.close()


def anabranch(orders: Orders, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANABRANCH_HOME": str(orders.home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "anabranch", *words], env=environment, capture_output=True, text=True, timeout=WAIT
    )


@pytest.mark.sampled(3, "other words for one command")
@pytest.mark.parametrize("words", [("agent",), ("worker",), ("agent", "local")])
def test_an_agent_takes_what_waits_and_ends(orders: Orders, words: tuple[str, ...]) -> None:
    run = orders.order()
    done = anabranch(orders, *words, "start", "--once", "--limit", "2", "--name", "ada")
    assert done.returncode == 0, done.stderr
    assert orders.done(run).state_name == "Completed"
    assert orders.effects() == ["effect 0", "at the gate 0"]
    assert "agent ada (process) of pool default: at most 2 runs at once" in done.stderr
    assert orders.service.claims.agents() == [], "it has left"


def test_an_agent_of_a_pool_that_is_not_there_ends_with_the_nearest(orders: Orders) -> None:
    done = anabranch(orders, "agent", "start", "--pool", "defualt")
    assert done.returncode == 1
    assert "default" in done.stderr
    assert "Traceback" not in done.stderr
    wrong = anabranch(orders, "agent", "start", "--kind", "proces")
    assert (wrong.returncode, "did you mean 'process'" in wrong.stderr) == (1, True)


def test_agents_are_listed(orders: Orders) -> None:
    assert "no agents" in anabranch(orders, "agent", "ls").stdout
    orders.service.claims.join(Agent("a", "ada", labels=("gpu",), capacity=3))
    listed = anabranch(orders, "agent", "ls")
    assert [word in listed.stdout for word in ("ada", "default", "gpu", "0/3")] == [True] * 4
    [found] = json.loads(anabranch(orders, "agent", "ls", "--json").stdout)["agents"]
    assert (found["name"], found["labels"], found["gone"]) == ("ada", ["gpu"], False)
