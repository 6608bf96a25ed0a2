"""A few rounds of `make chaos` with fixed seeds: the driver of it works, and so does what it breaks."""

from __future__ import annotations

import pytest

from tests.chaos.graphs import graph, numbers, reference
from tests.chaos.rounds import Round
from tests.chaos.service_round import ServiceRound

ELSEWHERE = [pytest.mark.nightly("rounds on Dask and Ray take minutes"), pytest.mark.timeout(300)]


@pytest.mark.sampled(2, "a round of each runner will do by day")
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


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "seed", [1100, pytest.param(1101, marks=[pytest.mark.postgres, pytest.mark.nightly("by day one on a file")])]
)
def test_a_round_of_the_service(seed: int) -> None:
    round = ServiceRound(seed, seconds=3.0, wanted=4)
    round.play()
    assert round.runs >= 4
    assert round.done


@pytest.mark.parametrize("seed", range(20))
def test_a_graph_is_that_of_its_seed_and_has_enough_to_do(seed: int) -> None:
    nodes = graph(seed)
    assert nodes == graph(seed)
    assert 200 <= sum(node.items for node in nodes) <= 4000
    assert all(numbers(value) for value in reference(nodes))
