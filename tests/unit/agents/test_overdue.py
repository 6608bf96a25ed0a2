"""Drivers that hang before they begin: a claim does not hold its slot for ever while its agent lives."""

from __future__ import annotations

import random

import pytest

from anabranch.agents.state import AgentState
from anabranch.agents.words import Claimed, Seen, Sent, Started, Tick
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.orders import Claim, Order
from tests.unit.agents.world import DEPLOYMENT, Player, World, play, played

KEY = ("r", 1)
JOB = Reference("fake", "1", "r-1", "")


@played
@pytest.mark.parametrize("seed", range(40))
def test_drivers_that_hang_before_they_begin_hold_up_no_order(seed: int) -> None:
    """Their agents live, so that their claims never end by silence; drivers that have begun may take their time."""
    rng = random.Random(seed)
    world = World(rng, lossy=rng.choice([0.0, 0.3]), hanging=rng.choice([0.3, 1.0]), sure_starts=True)
    for number in range(rng.randint(1, 8)):
        world.add(f"run{number}")
    players = [Player(world, name, rng.randint(1, 3), time_to_begin=lambda _: 5.0) for name in ("a", "b")]
    for one in players:
        one.take(Tick())
    play(world, players, rng.uniform(0, 60))
    world.lossy = 0.0
    play(world, players, 400.0)
    assert sorted(world.completed) == sorted(world.orders), f"seed {seed}"
    assert [one.state.held for one in players] == [{}, {}]
    assert world.running == []
    assert [key for key, job in world.jobs.items() if job.begun and job.ended == -9] == [], f"seed {seed}"


def overdue_at(state: AgentState, sights: list[tuple[float, Phase]]) -> list[float]:
    """Return when the holds of a claim said that its driver was overdue."""
    state.handle(Claimed([Claim(Order("r", "d", token=1), DEPLOYMENT, "r")]), 1.0)
    state.handle(Started(KEY, JOB), 1.0)
    found = []
    for now, phase in sights:
        state.handle(Seen({JOB: Sight(phase, "no node has room")}), now)
        hold = state.held[KEY].hold()
        assert hold.reason == "no node has room"
        found += [now] if hold.overdue == 300.0 else []
    return found


def test_a_job_that_has_run_for_its_time_is_told_as_overdue() -> None:
    seen = [(now, Phase.RUNNING) for now in (2.0, 302.0, 303.0, 400.0)]
    assert overdue_at(AgentState(1, time_to_begin=lambda _: 300.0), seen) == [303.0, 400.0]
    assert overdue_at(AgentState(1), seen) == []


def test_the_wait_in_a_queue_is_none_of_a_drivers_time() -> None:
    waits, runs = Phase.PENDING, Phase.RUNNING
    seen = [(2.0, waits), (9e5, waits), (9.1e5, runs), (9.1e5 + 301, waits), (9.9e5, runs), (9.9e5 + 301, runs)]
    assert overdue_at(AgentState(1, time_to_begin=lambda _: 300.0), seen) == [9.9e5 + 301]
    on_pods = AgentState(1, time_to_begin=lambda _: 300.0, waits_count=True)
    assert overdue_at(on_pods, seen[:2]) == [9e5]


def test_an_end_is_told_as_an_end_however_late() -> None:
    state = AgentState(1, time_to_begin=lambda _: 300.0)
    assert overdue_at(state, [(2.0, Phase.RUNNING), (303.0, Phase.RUNNING)]) == [303.0]
    state.handle(Seen({JOB: Sight(Phase.ENDED, "exit 1", 1)}), 304.0)
    state.handle(Sent(KEY), 304.0)
    hold = state.held[KEY].hold()
    assert (hold.phase, hold.code, hold.overdue) == ("ended", 1, 0.0)
