"""What no worker has, and who waits for it until when."""

from __future__ import annotations

import pytest

from anabranch.engine.capacity import Waiting, shortfall
from tests.unit.engine.bench import Bench


@pytest.mark.parametrize(
    ("needs", "offers", "missing"),
    [
        ({}, {}, ""),
        ({"cpus": 2.0}, {"cpus": 2.0, "gpus": 1.0}, ""),
        ({"gpus": 2.0}, {"gpus": 1.0}, "gpus=2 (at most 1)"),
        ({"tpus": 0.5}, {}, "tpus=0.5 (none)"),
        ({"cpus": 8.0, "gpus": 1.0, "memory": 1.0}, {"cpus": 4.0, "memory": 2.0}, "cpus=8 (at most 4), gpus=1 (none)"),
    ],
)
def test_what_is_missing_is_named_with_what_there_is(
    needs: dict[str, float], offers: dict[str, float], missing: str
) -> None:
    assert shortfall(needs, offers) == missing


def test_those_whose_time_is_over_come_in_its_order() -> None:
    bench, waiting = Bench(), Waiting()
    first, second = bench.map(range(3)), bench.map(range(3))
    first.queue.short = second.queue.short = "gpus=1 (none)"
    assert waiting.due == []
    waiting.add(first, None, 20.0)
    waiting.add(second, 2, 10.0)
    waiting.add(second, 1, 30.0)
    assert waiting.due[0][0] == 10.0
    assert waiting.over(9.9) == []
    assert waiting.over(20.0) == [(second, 2), (first, None)]
    assert waiting.over(20.0) == []
    assert waiting.due[0][0] == 30.0


def test_who_got_what_was_missing_waits_no_more() -> None:
    bench, waiting = Bench(), Waiting()
    first, second = bench.map(range(3)), bench.map(range(3))
    first.queue.short, second.queue.short = "", "gpus=1 (none)"
    for map in (first, second, first):
        waiting.add(map, None, 10.0)
    waiting.forget(second)
    assert len(waiting.due) == 2
    assert waiting.over(10.0) == [], "it has what it needs, though it was not forgotten"
    assert waiting.due == []
