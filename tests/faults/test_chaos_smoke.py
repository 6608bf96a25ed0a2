"""A few rounds of `make chaos` with fixed seeds: the driver of it works, and so does what it breaks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import NewOrder, OrderState
from anabranch.records import open_service
from tests.chaos import service_checks
from tests.chaos.graphs import graph, numbers, reference
from tests.chaos.rounds import Round
from tests.chaos.service_checks import Looks, TickRun, wrong_ticks
from tests.chaos.service_round import ServiceRound
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

ELSEWHERE = [pytest.mark.nightly("rounds on Dask and Ray take minutes"), pytest.mark.timeout(300)]


@pytest.mark.sampled(4, "a round a day")
@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("thread", 2102),
        ("thread", 2104),
        ("process", 1102),
        ("process", 1103),
        pytest.param("dask", 1102, marks=[pytest.mark.dask, *ELSEWHERE]),
        pytest.param("ray", 1102, marks=[pytest.mark.ray, *ELSEWHERE]),
    ],
)
def test_a_round(kind: str, seed: int) -> None:
    round = Round(seed, kind, hold=True)
    round.play()
    assert round.runs >= 200
    assert round.done


@pytest.mark.sampled(3, "a server, its agents and their drivers")
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "seed", [1100, pytest.param(1101, marks=[pytest.mark.postgres, pytest.mark.nightly("by day one on a file")])]
)
def test_a_round_of_the_service(seed: int) -> None:
    round = ServiceRound(seed, seconds=3.0, wanted=4, least=3)
    round.play()
    assert round.runs >= 4
    assert round.done["kill_server"]
    assert round.done.total() >= 3


def series(*dues: float, state: str = "Completed", recoveries: int = 0) -> list[TickRun]:
    return [TickRun(due, state, recoveries) for due in dues]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (series(), "no tick had a run"),
        (series(3, 9, 12), "the tick 6.000000 has no run"),
        (series(3, 6, 6, 9, 12), "the tick 6.000000 has 2 runs"),
        (series(3, 6, 7.5, 9, 12), "a run is due at 7.500000"),
        (series(6, 9, 12), "the first tick"),
        (series(3, 6, 9), "the last tick"),
        (series(3, 6, 9, 12) + series(15, state=""), "the tick 15.000000 is nowhere"),
        (series(3, 6, 9, 12) + series(15, state="Running"), "the tick 15.000000 is Running"),
        (series(3, 6, 9, 12) + series(15, state="Crashed", recoveries=2), "after 2 recoveries"),
    ],
)
def test_a_round_sees_ticks_without_their_one_run(runs: list[TickRun], words: str) -> None:
    [found] = wrong_ticks(runs, 3.0, since=0.5, until=10.0)
    assert words in found


def test_a_round_takes_each_tick_with_one_run_for_right() -> None:
    runs = series(3, 6, 9, 12) + series(15, state="Crashed", recoveries=3)
    assert wrong_ticks(runs, 3.0, since=0.5, until=10.0) == []


def test_a_round_sees_slots_that_are_held_for_a_moment(tmp_path: Path) -> None:
    place = str(tmp_path / "records.db")
    with closing(open_service(place)) as service:
        service.deployments.apply(DeploymentRow("", "etl", "daily"), [])
        service.orders.add([NewOrder("etl/daily") for _ in range(5)])
        with Looks(place) as looks:
            for state in (OrderState.CLAIMED, OrderState.BEGUN, OrderState.DONE):
                move(place, state)
                seen = looks.looks
                until(lambda seen=seen: looks.looks > seen + 1)  # type: ignore[misc]
    assert looks.most == {"default": 5}
    assert looks.too_many(4) == ["default had 5 orders in 4 slots"]
    assert looks.too_many(5) == []
    assert Looks(place).too_many(5) == ["nobody has looked at the slots"]


def test_a_round_hears_of_looks_that_ended_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(db: object) -> Counter[str]:
        raise KeyError("pool")

    place = str(tmp_path / "records.db")
    with closing(open_service(place)), Looks(place) as looks:
        until(lambda: looks.looks)
        monkeypatch.setattr(service_checks, "held", broken)
        until(lambda: looks.error)
    assert looks.too_many(4) == ["the looks at the slots ended early, by KeyError('pool')"]


def move(place: str, state: OrderState) -> None:
    with closing(sqlite3.connect(place, timeout=WAIT)) as db, db:
        db.execute("UPDATE orders SET state = ?", (int(state),))


@pytest.mark.parametrize("seed", range(20))
def test_a_graph_is_that_of_its_seed_and_has_enough_to_do(seed: int) -> None:
    nodes = graph(seed)
    assert nodes == graph(seed)
    assert 200 <= sum(node.items for node in nodes) <= 4000
    assert all(numbers(value) for value in reference(nodes))
