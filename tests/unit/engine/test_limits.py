"""Limits as the dispatcher sees them: places of this program's own, and those that are brought from the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.instructions import WantSlots
from anabranch.engine.limits import Wanted
from tests.unit.engine.bench import Bench, items_of

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun


def asked(bench: Bench) -> int:
    count = sum(isinstance(one, WantSlots) for one in bench.others)
    bench.others.clear()
    return count


def bring(bench: Bench, places: int = 0, starts: int = 0) -> list[list[int]]:
    bench.dispatcher.open_limits({"task:work": places}, {"task:work": starts})
    return [list(chunk.items) for chunk in bench.take()]


def shared(bench: Bench, *, rated: bool = False) -> None:
    bench.dispatcher.apply_limits([] if rated else ["task:work"], ["task:work"] if rated else [])


def test_nothing_is_sent_before_places_are_brought() -> None:
    bench = Bench(slots=4)
    shared(bench)
    map = bench.map(range(8), chunk=2)
    assert bench.take() == []
    assert asked(bench) == 1
    look = bench.dispatcher.look_at_limits()
    assert look.wanted == [Wanted(("task:work",), 4)]
    assert bring(bench, 1) == [[0, 1]]
    assert bring(bench, 2) == [[2, 3]]
    assert asked(bench) == 0, "it is known that this map waits"
    assert bench.dispatcher.look_at_limits().used == {"task:work": 2}
    bench.report(bench.queue[0])
    assert items_of(bench.take()) == [4, 5]
    bench.run()
    assert map.finished


def test_how_waiting_shows() -> None:
    bench = Bench(slots=4)
    shared(bench)
    map = bench.map(range(3), chunk=1)
    bench.take()
    assert {map.state(n).name for n in range(3)} == {"AwaitingConcurrencySlot"}
    assert map.state(0).message == "waits for a slot of the limit 'task:work'"
    bring(bench, 1)
    assert [map.state(n).name for n in range(3)] == ["Running", *["AwaitingConcurrencySlot"] * 2]


def test_who_waits_for_inputs_does_not_wait_for_a_limit() -> None:
    bench = Bench(slots=4)
    first = bench.map(range(2), chunk=2)
    [chunk] = bench.take()
    shared(bench)
    second = bench.map(after=first)
    bench.take()
    assert second.state(0).name == "Pending"
    assert bench.dispatcher.look_at_limits().wanted == []
    bench.report(chunk)
    bench.take()
    assert second.state(0).name == "AwaitingConcurrencySlot"


def test_places_that_are_not_used_at_a_look_are_taken_away() -> None:
    bench = Bench(slots=4)
    shared(bench)
    bring(bench, 4)
    assert bench.dispatcher.look_at_limits().used == {"task:work": 0}
    bench.map(range(4), chunk=1)
    assert bench.take() == []


def test_a_limit_that_comes_and_goes_holds_for_open_maps() -> None:
    bench = Bench(slots=2)
    map = bench.map(range(12), chunk=1)
    assert len(bench.take()) == 4
    shared(bench)
    while bench.queue:
        bench.report(bench.queue[0])
        assert bench.take() == []
    assert asked(bench) == 1
    bench.dispatcher.apply_limits([], [])
    assert len(bench.take()) == 4
    bench.run()
    assert map.finished


def test_the_programs_own_limit_stands_beside_the_records() -> None:
    bench = Bench(slots=4)
    bench.dispatcher.set_limit("task:work", 1)
    shared(bench)
    bench.map(range(4), chunk=1, concurrency_limit=1)
    assert bring(bench, 3) == [[0]]
    assert bench.dispatcher.look_at_limits().wanted == []


async def later(x: Any) -> Any:
    return x


def together(bench: Bench, map: MapRun) -> MapRun:
    map.spec.fn = later
    return map


@pytest.mark.parametrize(("places", "sent"), [(3, [3]), (1, [1]), (50, [8, 2])])
def test_items_that_run_together_take_a_place_each(places: int, sent: list[int]) -> None:
    bench = Bench(slots=2)
    shared(bench)
    map = together(bench, bench.map(range(10), chunk=20, async_concurrency=8))
    bench.take()
    assert bench.dispatcher.look_at_limits().wanted == [Wanted(("task:work",), 10)]
    assert [len(items) for items in bring(bench, places)] == sent
    assert bench.dispatcher.tables.limits.used == {"task:work": sum(sent)}
    bench.dispatcher.open_limits({"task:work": 50}, {})
    bench.run()
    assert map.finished
    assert bench.dispatcher.tables.limits.used == {}


def test_items_that_run_together_keep_within_the_programs_own_limit() -> None:
    bench = Bench(slots=2)
    bench.dispatcher.set_limit("task:work", 2)
    together(bench, bench.map(range(10), chunk=20, concurrency_limit=2))
    assert [len(chunk) for chunk in bench.take()] == [2]


def test_under_a_rate_each_item_is_sent_as_it_may_start() -> None:
    bench = Bench(slots=2)
    shared(bench, rated=True)
    bench.map(range(10), chunk=5)
    assert bench.take() == []
    assert asked(bench) == 1
    assert bench.dispatcher.look_at_limits().starts == {"task:work": 10}
    assert bring(bench, starts=1) == [[0]]
    assert bring(bench, starts=3) == [[1]], "there are two workers"
    bench.report(bench.queue[0])
    assert items_of(bench.take()) == [2]
    assert bench.dispatcher.look_at_limits().starts == {}, "no worker is free"
    assert bring(bench, starts=0) == []
    bench.report(bench.queue[0])
    assert bench.take() == []
    assert asked(bench) == 1


def test_one_under_a_rate_is_sent_though_others_keep_all_workers_busy() -> None:
    bench = Bench(slots=2)
    bench.map(range(100), chunk=1)
    paced = bench.map(range(3), priority=1)
    paced.header.tags = ("p",)
    bench.dispatcher.apply_limits([], ["tag:p"])
    bench.take()
    bench.report(bench.queue[0])
    assert bench.take()[0].priority == 0
    bench.dispatcher.open_limits({}, {"tag:p": 1})
    assert bench.take() == []
    bench.report(bench.queue[0])
    assert [chunk.priority for chunk in bench.take()] == [1]
