"""An agent's decisions, played in generated worlds that lose, repeat and delay answers."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from anabranch.agents.state import AgentState
from anabranch.agents.words import (
    Ask,
    Beat,
    Claimed,
    Failed,
    Join,
    Joined,
    Look,
    Seen,
    Start,
    Stop,
    Tick,
    Told,
)
from anabranch.core.launching import Reference
from anabranch.core.orders import Claim, Heard, Order, OrderState
from tests.unit.agents.world import DEPLOYMENT, Player, World, play, played

KEY = ("r", 1)
JOB = Reference("fake", "1", "r-1", "")
HANDLE = '{"kind": "fake", "id": "1", "name": "r-1", "folder": "", "cluster": ""}'


def claim(run: str = "r", token: int = 1) -> Claim:
    return Claim(Order(run, "d", token=token), DEPLOYMENT, run)


@played
@pytest.mark.parametrize("seed", range(60))
def test_all_orders_end_once_whatever_the_network_does(seed: int) -> None:
    """Two agents, one of which dies and another takes its place: each order completes, no claim is started twice."""
    rng = random.Random(seed)
    world = World(rng, lossy=rng.choice([0.0, 0.2, 0.6]))
    for number in range(rng.randint(1, 12)):
        world.add(f"run{number}")
    players = [Player(world, name, rng.randint(1, 3)) for name in ("a", "b")]
    for one in players:
        one.take(Tick())
    play(world, players, rng.uniform(0, 60))
    dead = players.pop(0)  # and never says a word again
    players.append(Player(world, "c", 2))
    if rng.random() < 0.5:
        world.agents.pop("b", None)  # the service forgets the other one
    play(world, players, rng.uniform(0, 60))
    world.lossy = 0.0
    play(world, players, 400.0)
    assert sorted(world.completed) == sorted(world.orders), f"seed {seed}"
    assert {order.state for order in world.orders.values()} == {OrderState.DONE}
    assert [one.state.held for one in players] == [{}, {}]
    assert world.running == []
    starts = Counter(world.starts)
    assert all(count == 1 for count in starts.values()), f"seed {seed}: {starts}"
    assert dead.state.capacity


@played
@pytest.mark.parametrize("seed", range(40))
def test_no_finished_run_is_done_again_because_the_service_was_away(seed: int) -> None:
    """Flows that fail end with exit code 1, as a driver that died: the rows that it left tell them apart."""
    rng = random.Random(seed)
    world = World(rng, lossy=rng.choice([0.0, 0.3]), failing=(1,), sure_starts=True)
    for number in range(rng.randint(1, 8)):
        world.add(f"run{number}")
    players = [Player(world, name, rng.randint(1, 4)) for name in ("a", "b")]
    for one in players:
        one.take(Tick())
    for _ in range(4):
        play(world, players, rng.uniform(1, 15))
        world.away = True
        play(world, players, rng.choice([1.0, 30.0, 300.0]))
        world.away, world.back = False, world.now
    world.lossy = 0.0
    play(world, players, 200.0)
    assert sorted(world.finished) == sorted(world.orders), f"seed {seed}"
    assert sorted(world.completed) == sorted(world.orders), f"seed {seed}"
    assert [one.state.held for one in players] == [{}, {}]


@played
@pytest.mark.parametrize("seed", range(20))
def test_no_more_jobs_than_the_capacity(seed: int) -> None:
    rng = random.Random(seed)
    world = World(rng, lossy=0.5)
    for number in range(20):
        world.add(f"run{number}")
    one = Player(world, "a", 2)
    one.take(Tick())
    for _ in range(600):
        play(world, [one], 0.1)
        assert len(world.running) <= 2 + len(lost_starts(one)), f"seed {seed}"


def lost_starts(player: Player) -> list[Any]:
    """Return jobs that run though their launcher said that it could not start them."""
    held = player.state.held
    return [key for key in player.world.running if key not in held or held[key].over]


@played
@pytest.mark.parametrize("seed", range(20))
def test_a_stopped_agent_claims_nothing_and_ends(seed: int) -> None:
    rng = random.Random(seed)
    world = World(rng, lossy=0.3)
    for number in range(6):
        world.add(f"run{number}")
    one = Player(world, "a", 3)
    one.take(Tick())
    play(world, [one], rng.uniform(0, 10))
    before = len(one.asked)
    one.take(Stop(grace=10.0))
    play(world, [one], 40.0)
    assert one.state.finished(world.now), f"seed {seed}"
    assert [each for each in one.asked[before:] if isinstance(each, Ask | Start)] == []
    assert [key for key in world.running if key in one.state.held] == []


@played
@pytest.mark.parametrize("seed", range(20))
def test_instructions_do_not_overtake_their_answers(seed: int) -> None:
    """Of beats, claims and looks one is under way at a time."""
    rng = random.Random(seed)
    state, out = AgentState(2), dict.fromkeys((Join, Ask, Beat, Look), 0)
    now, todo = 0.0, [*state.handle(Tick(), 0.0)]
    for _ in range(300):
        for asked in todo:
            if type(asked) in out:
                out[type(asked)] += 1
                assert out[type(asked)] == 1, asked
        now += rng.uniform(0, 3)
        kind = rng.choice([kind for kind, count in out.items() if count] or [Tick])
        if kind in out:
            out[kind] -= 1
        answers = {Join: Joined(), Ask: Claimed([claim(str(now))]), Beat: Told([], Heard()), Look: Seen({})}
        event = Tick() if kind is Tick else rng.choice([answers[kind], Failed(kind, rng.random() < 0.3)])
        todo = state.handle(event, now)
