"""Fault 27: answers of the service are lost after it has done what was asked; each order is done once all the same."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.agents.loop import AgentLoop
from anabranch.agents.state import AgentState
from anabranch.core.errors import UnreachableError
from anabranch.core.ids import Ids
from anabranch.core.orders import Agent
from anabranch.core.processes import host_id
from anabranch.launch.process import ProcessLauncher
from anabranch.serving.agent import place_of
from tests.faults.ordering import Orders

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.orders import Claim

pytestmark = pytest.mark.sampled(3, "a server, an agent and a driver for each")


class Lossy:
    """The claims of a service, of which answers are lost; `lost` counts them by method."""

    def __init__(self, claims: Any, rng: random.Random, often: float) -> None:
        self._claims, self._rng, self._often = claims, rng, often
        self.lost: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        def ask(*given: Any, **named: Any) -> Any:
            answer = getattr(self._claims, name)(*given, **named)
            if self._rng.random() < self._often and (name != "claim" or answer):
                self.lost[name] += 1
                raise UnreachableError(f"no answer to {name}")
            return answer

        return ask


class Service:
    def __init__(self, claims: Any) -> None:
        self.claims = claims


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [27, 28])
def test_answers_are_lost_and_each_order_is_done_once_27(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    orders = Orders(tmp_path)
    lossy = Lossy(orders.service.claims, random.Random(seed), 0.4)
    service: Any = Service(lossy)
    loop = AgentLoop(
        service, ProcessLauncher(), Agent(Ids().new(), "a", host=host_id(), capacity=2),
        AgentState(2, look=0.1, beat=0.3), place_of(orders.settings),
    )  # fmt: skip
    try:
        with orders.running(loop):
            runs = [orders.order() for _ in range(4)]
            rows = [orders.done(run) for run in runs]
    finally:
        orders.close()
    assert [row.state_name for row in rows] == ["Completed"] * len(runs)
    assert orders.effects().count("effect 0") == len(runs)
    assert lossy.lost["beat"]


def test_a_lost_claim_is_launched_after_the_next_beat_27(tmp_path: Path) -> None:
    """The answer of its first claim is lost for certain: the beat brings it."""
    orders = Orders(tmp_path)
    claims, dropped = orders.service.claims, list[Any]()

    class First(Lossy):
        def claim(self, agent: str, places: int, *, wait: float = 0.0) -> list[Claim]:
            found = claims.claim(agent, places, wait=wait)
            if found and not dropped:
                dropped.append(found)
                raise UnreachableError("no answer to the first claim")
            return found

    service: Any = Service(First(claims, random.Random(0), 0.0))
    loop = AgentLoop(
        service, ProcessLauncher(), Agent(Ids().new(), "a", host=host_id()), AgentState(1, look=0.1, beat=0.3),
        place_of(orders.settings),
    )  # fmt: skip
    try:
        with orders.running(loop):
            row = orders.done(orders.order())
    finally:
        orders.close()
    assert dropped
    assert row.state_name == "Completed"
    assert orders.effects().count("effect 0") == 1
