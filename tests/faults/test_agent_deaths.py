"""Agents and drivers that are killed, stopped, or lose an answer: each order is done once, and none stays open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from anabranch.core.orders import Agent, OrderState
from tests.faults import hurried
from tests.faults.ordering import LEASE, SOON, Orders, alive
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(180), pytest.mark.sampled(7, "each has agents and drivers of its own")]
EFFECTS = ["effect 0", "at the gate 0"]
EVERYWHERE = pytest.mark.parametrize(
    "orders", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture
def orders(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orders]:
    """In a file, or where a test says so in PostgreSQL; leases and pauses are over soon."""
    postgres = getattr(request, "param", "sqlite") == "postgres"
    where = str(request.getfixturevalue("postgres_address")) if postgres else ""
    hurried.hurry(SOON, monkeypatch.setattr)
    one = Orders(tmp_path, where=where, hurried=SOON)
    yield one
    one.close()


def seen(orders: Orders, agent: subprocess.Popen[str]) -> float:
    """When the service heard of an agent last; 0.0: it does not know it."""
    return next((one.seen for one in orders.service.claims.agents() if one.id == orders.id_of(agent)), 0.0)


@EVERYWHERE
def test_an_agent_killed_between_claim_and_launch_28(orders: Orders) -> None:
    run = orders.order()
    first = orders.agent("before")
    orders.held()
    orders.kill(first)
    assert orders.found(run).state is OrderState.CLAIMED
    orders.returned(run)
    orders.mark.unlink()
    orders.agent()
    assert orders.done(run).state_name == "Completed"
    assert orders.effects() == EFFECTS
    assert orders.found(run).token == 2


@EVERYWHERE
def test_an_agent_killed_after_launch_before_it_told_the_handle_29(orders: Orders) -> None:
    orders.gate.touch()
    run = orders.order()
    first = orders.agent("after")
    orders.held()
    orders.kill(first)
    orders.at_gate()
    second = orders.agent()
    until(lambda: orders.service.upkeep.now() - seen(orders, first) > LEASE)  # the first is lost by then
    reaped = orders.service.upkeep.reap()
    assert (reaped.returned, reaped.recovered) == ([], [])
    until(lambda: seen(orders, second))
    orders.gate.unlink()
    assert orders.done(run).state_name == "Completed"
    assert orders.effects() == EFFECTS


def test_a_claim_that_is_launched_twice_30(orders: Orders, tmp_path: Path) -> None:
    """Two drivers of one token: one begins, the other one runs no code and ends well."""
    orders.gate.touch()
    run = orders.order()
    orders.service.claims.join(Agent("a", "a"))
    [claim] = orders.service.claims.claim("a", 1)
    command = [sys.executable, "-m", "anabranch", "drive", run, "--token", str(claim.order.token)]
    environment = {**os.environ, "ANABRANCH_HOME": str(orders.home)}
    drivers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        orders.at_gate()
        until(lambda: sum(driver.poll() is not None for driver in drivers) == 2)
        orders.gate.unlink()
        told = [driver.communicate(timeout=WAIT)[1] for driver in drivers]
    finally:
        for driver in drivers:
            driver.kill()
    assert [driver.returncode for driver in drivers] == [0, 0, 0]
    assert sum("has a driver" in text for text in told) == 2
    assert orders.done(run).state_name == "Completed"
    assert orders.effects() == EFFECTS


@EVERYWHERE
def test_an_agent_stopped_over_its_lease_and_woken_32(orders: Orders) -> None:
    """What it has claimed and not launched is another one's by then: its late driver does not begin."""
    run = orders.order()
    first = orders.agent("before")
    orders.held()
    first.send_signal(signal.SIGSTOP)
    orders.returned(run)
    orders.mark.unlink()
    orders.agent()
    assert orders.done(run).state_name == "Completed"
    first.send_signal(signal.SIGCONT)
    late = orders.home / "jobs" / f"{run}-1"
    until((late / "exit").exists)
    until(lambda: orders.service.claims.agents()[0].held == 0)
    assert orders.effects() == EFFECTS
    assert orders.found(run).token == 2


@EVERYWHERE
def test_a_killed_driver_is_known_at_once_and_its_run_goes_on_37(orders: Orders) -> None:
    orders.gate.touch()
    run = orders.order()
    orders.agent()
    orders.at_gate()
    orders.recorded(run)
    orders.kill_driver(run)
    killed = time.monotonic()
    until(lambda: orders.found(run).state is OrderState.WAITING)
    print(f"known after {time.monotonic() - killed:.2f} s")
    assert "SIGKILL" in orders.found(run).reason
    orders.at_gate(2)
    orders.gate.unlink()
    assert orders.done(run).state_name == "Completed"
    assert orders.effects().count("effect 0") == 1, "what has completed is not repeated"
    assert orders.found(run).recoveries == 1


@EVERYWHERE
def test_a_restarted_agent_has_the_drivers_of_the_one_before_40(orders: Orders) -> None:
    orders.gate.touch()
    run = orders.order()
    first = orders.agent()
    orders.at_gate()
    orders.recorded(run)
    until(lambda: orders.found(run).handle)
    orders.kill(first)
    second = orders.agent()
    until(lambda: orders.found(run).agent == orders.id_of(second))
    orders.kill_driver(run)  # it looks at what it has adopted
    until(lambda: orders.found(run).state is OrderState.WAITING)
    orders.at_gate(2)
    orders.gate.unlink()
    assert orders.done(run).state_name == "Completed"
    assert orders.effects().count("effect 0") == 1


def test_three_recoveries_then_it_gives_up_43(orders: Orders) -> None:
    orders.gate.touch()
    run = orders.order()
    orders.agent()
    for times in range(1, 5):
        orders.at_gate(times)
        orders.kill_driver(run)
        until(lambda: orders.found(run).state is not OrderState.BEGUN)
    row = orders.done(run)
    assert row.state_name == "Crashed"
    assert row.message.startswith("gave up after 3 recoveries: ")


# -- cancel in every state: fault 44 -----------------------------------------------------------------


def test_a_waiting_run_is_cancelled_at_once_44(orders: Orders) -> None:
    run = orders.order()
    assert orders.service.orders.cancel(run, by="ada")
    assert orders.row(run).state_name == "Cancelled"
    orders.agent()
    other = orders.order()
    assert orders.done(other).state_name == "Completed"
    assert orders.effects() == EFFECTS


def test_a_claimed_run_is_cancelled_and_no_code_of_it_runs_44(orders: Orders) -> None:
    run = orders.order()
    orders.agent("before")
    orders.held()
    assert orders.service.orders.cancel(run)
    assert orders.row(run).state_name == "Cancelled"
    orders.mark.unlink()
    until((orders.home / "jobs" / f"{run}-1" / "exit").exists)
    assert orders.effects() == []


def test_a_begun_run_hears_its_cancel_44(orders: Orders) -> None:
    run = orders.order("obeys")
    orders.agent()
    until(lambda: "begun" in orders.effects())
    assert orders.service.orders.cancel(run, grace=50.0)
    assert orders.done(run).state_name == "Cancelled"
    until(lambda: orders.service.claims.agents()[0].held == 0)


def test_a_driver_that_ignores_its_cancel_is_killed_44(orders: Orders) -> None:
    run = orders.order("ignores")
    orders.agent()
    until(lambda: "begun" in orders.effects())
    pid = orders.row(run).pid
    assert orders.service.orders.cancel(run, grace=1.0)
    assert orders.done(run).state_name == "Cancelled"
    until(lambda: not alive(pid))
