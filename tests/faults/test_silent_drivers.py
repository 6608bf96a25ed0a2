"""Drivers that are alive and say nothing: one with a locked interpreter (41), a false zombie that wakes (42)."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults import hurried
from tests.faults.ordering import SOON, Orders, alive
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(400), pytest.mark.sampled(2, "a lease that runs out for each")]
DEAD = 2.0  # seconds of silence
SILENCE = {**SOON, "silence": DEAD}
LONGEST = {**SILENCE, "longest_silence": 4.0}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres_address")) if request.param == "postgres" else ""


@pytest.fixture
def orders(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> Iterator[Orders]:
    limits = request.param
    hurried.hurry(limits, monkeypatch.setattr)
    one = Orders(tmp_path, where=where, hurried=limits)
    yield one
    one.close()


def silent_for(orders: Orders, run: str, seconds: float) -> None:
    """Wait until a driver has said nothing for so long, while the service looks for the lost."""
    until(lambda: "silent" in orders.effects())

    def silent() -> bool:
        assert orders.service.upkeep.reap().recovered == [], "it is taken for dead, and its agent says that it runs"
        return orders.service.upkeep.now() - (orders.row(run).heartbeat or 0.0) > seconds

    until(silent, pause=0.2)


@pytest.mark.parametrize("orders", [SILENCE], indirect=True)
def test_a_driver_that_keeps_the_interpreters_lock_is_not_dead_while_its_agent_says_that_it_runs_41(
    orders: Orders,
) -> None:
    run = orders.order("keeps-the-lock", parameters={"seconds": 3 * DEAD})
    orders.agent()
    silent_for(orders, run, 2 * DEAD)
    assert orders.done(run).state_name == "Completed"
    assert (orders.found(run).recoveries, orders.found(run).token) == (0, 1)
    assert orders.effects() == ["effect 0", "silent", "awake"]


@pytest.mark.nightly("a driver that is silent for the 90 s of the design")
@pytest.mark.parametrize("orders", [SOON], indirect=True)
def test_a_driver_that_keeps_the_interpreters_lock_for_90_s_with_the_real_limits_41(orders: Orders) -> None:
    run = orders.order("keeps-the-lock", parameters={"seconds": 90.0})
    orders.agent()
    silent_for(orders, run, 70.0)
    assert orders.done(run).state_name == "Completed"
    assert orders.found(run).recoveries == 0


@pytest.mark.parametrize("orders", [LONGEST], indirect=True)
def test_a_false_zombie_that_wakes_is_refused_42(orders: Orders) -> None:
    """It is stopped for longer than any driver may be silent; the next one has the run when it wakes."""
    orders.gate.touch()
    run = orders.order()
    first = orders.agent()
    orders.at_gate()
    orders.recorded(run)
    zombie = orders.row(run).pid
    os.kill(zombie, signal.SIGSTOP)
    first.send_signal(signal.SIGSTOP)  # which would end its job once another driver has the run
    until(lambda: run in orders.service.upkeep.reap().recovered, lambda: orders.found(run))
    orders.agent()
    orders.at_gate(2)
    second = orders.row(run).pid
    assert second not in (0, zombie)
    os.kill(zombie, signal.SIGCONT)
    orders.gate.unlink()  # both are through with their flow, and one of them has the run
    assert orders.done(run).state_name == "Completed"
    until(lambda: not alive(zombie), lambda: orders.shown(run))
    first.send_signal(signal.SIGCONT)
    assert (orders.row(run).pid, orders.row(run).attempt, orders.found(run).recoveries) == (second, 2, 1)
    assert orders.effects().count("effect 0") == 1, "what has completed is not repeated"
