"""Links of chains: single runs of one series that each take the value of the one before them."""

from __future__ import annotations

import pytest

from anabranch.core import states
from anabranch.core.chunks import Binding, BlockHandle, Stage
from anabranch.core.events import ChunkLost
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.options import TaskOptions
from anabranch.core.task_spec import TaskSpec
from anabranch.engine import standing
from anabranch.engine.fusing import MAX_STAGES, PIPE
from tests.unit.engine.bench import Bench, identity, items_of


class Series:
    """Single runs of one task, in the order of their numbers."""

    def __init__(self, bench: Bench, **options: object) -> None:
        d = bench.dispatcher
        chosen = TaskOptions(name="one", **options)  # type: ignore[arg-type]
        name = f"m{d.tables.new_ref()}"
        self.d, self.map = d, MapRun(name, TaskSpec("one", identity, chosen), chosen, kind="submit", lane=bench.lane)
        sending = self.map.sending
        sending.spec_ref, sending.stage_ref, sending.pipe_ref = (d.tables.new_ref() for _ in range(3))
        stage = Stage(self.map.sending.spec_ref, None, Binding(star=True), self.map.id)
        d.intake.open_series(self.map, stage, stage)

    def first(self) -> int:
        index = next(self.map.inputs.append_index)
        self.d.intake.append_item(self.map, index, ((), {}), ())
        return index

    def link(self, *befores: int) -> list[int]:
        """One that follows each of these."""
        fresh = [(next(self.map.inputs.append_index), before) for before in befores]
        self.map.inputs.links.extend(fresh)
        self.d.intake.append_links(self.map)
        return [index for index, _ in fresh]

    def after(self, map: MapRun, index: int) -> int:
        """One that follows a run of another series."""
        fresh = next(self.map.inputs.append_index)
        self.d.intake.append_item(self.map, fresh, PIPE, (Upstream(map, index),))
        return fresh

    def chain(self, length: int) -> list[int]:
        found = [self.first()]
        while len(found) < length:
            found += self.link(found[-1])
        return found

    def let_go(self, *items: int) -> None:
        self.d.readers.handles_gone([(self.map, index) for index in items])


@pytest.fixture(params=[False, True], ids=["inline", "held"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(held=request.param)


def test_a_chain_travels_as_one_and_only_its_last_value_comes_back(bench: Bench) -> None:
    series = Series(bench)
    items = series.chain(5)
    series.let_go(*items[:-1])
    [chunk] = bench.take()
    assert chunk.keep == (False, False, False, False, True)
    bench.report(chunk)
    bench.take()
    assert [series.map.values.has_value(i) for i in items] == [False] * 4 + [True]
    assert series.map.consumers.followers == series.map.inputs.upstreams == {}


def test_a_long_chain_goes_on_from_the_value_with_which_its_first_part_ends(bench: Bench) -> None:
    series = Series(bench)
    items = series.chain(MAX_STAGES + 3)
    series.let_go(*items[:-1])
    [chunk] = bench.take()
    assert len(chunk.stages) == MAX_STAGES
    assert chunk.keep[-1]
    bench.report(chunk)
    [rest] = bench.take()
    assert rest.items[0] == MAX_STAGES
    if bench.held:
        assert [handle.chunk for handle, _ in rest.inputs] == [chunk.id]
    else:
        assert rest.args[0] == (((MAX_STAGES - 1, 0),), {})  # as `Bench.report` writes values
    bench.report(rest)
    bench.take()
    assert list(series.map.codes) == [states.COMPLETED] * len(items)
    assert [i for i in items if series.map.values.has_value(i)] == items[-1:]


def test_a_link_beside_another_one_finds_the_value(bench: Bench) -> None:
    series = Series(bench)
    first = series.first()
    series.link(first, first)
    series.let_go(first)
    [chunk] = bench.take()
    assert chunk.keep == (True,)
    bench.report(chunk)
    assert items_of(bench.take()) == [1, 2]
    assert series.map.values.has_value(first)


def test_one_chain_that_ends_earlier_keeps_the_value_of_none(bench: Bench) -> None:
    series = Series(bench)
    heads = [series.first(), series.first()]
    second = series.link(*heads)
    [last] = series.link(second[0])
    series.let_go(*heads, *second)
    series.map.sending.chunk_option = 2
    [chunk] = bench.take()
    assert [list(items) for items in chunk.stage_items] == [heads, second]
    assert chunk.keep == (False, True), "one of the second has a reader"
    bench.report(chunk)
    assert items_of(bench.run()) == [last]
    assert [series.map.values.has_value(i) for i in range(5)] == [False] * 4 + [True]


def test_what_comes_while_its_producer_runs_goes_when_that_has_ended(bench: Bench) -> None:
    series = Series(bench)
    first = series.first()
    [chunk] = bench.take()
    [second] = series.link(first)
    series.let_go(first)
    assert bench.take() == []
    bench.report(chunk)
    assert items_of(bench.take()) == [second]


def test_a_link_that_was_blamed_has_its_own_attempt(bench: Bench) -> None:
    series = Series(bench, crash_retries=3)
    series.chain(3)
    [chunk] = bench.take()
    bench.queue.clear()
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone", suspects=(0,), stage=1))
    assert series.map.attempts == {1: 2}
    found = [(items_of([chunk]), chunk.attempts) for chunk in bench.run()]
    assert found == [([0], None), ([1], [2]), ([2], None)]
    assert list(series.map.codes) == [states.COMPLETED] * 3


def test_links_that_are_lost_are_made_again() -> None:
    bench = Bench(held=True)
    series = Series(bench)
    items = series.chain(3)
    series.let_go(*items[:-1])
    [chunk] = bench.run()
    bench.dispatcher.remakes.values_lost(bench.lane, [BlockHandle(chunk.id, 2, 0)])
    bench.run()
    assert series.map.attempts == dict.fromkeys(items, 2)
    assert [series.map.values.has_value(i) for i in items] == [False, False, True]


def test_links_before_a_run_of_another_task_travel_with_it_and_leave_nothing_behind(bench: Bench) -> None:
    series, other = Series(bench), Series(bench)
    items = series.chain(3)
    last = other.after(series.map, items[-1])
    series.let_go(*items[:-1])
    [chunk] = bench.take()
    assert len(chunk.stages) == 4
    bench.report(chunk)
    bench.take()
    for map in series.map, other.map:
        assert map.consumers.followers == map.inputs.upstreams == map.inputs.blocked == map.consumers.items == {}
        assert not any(map.consumers.unfinished or b"")
    if bench.held:  # what the last link was made of is made again before it
        bench.dispatcher.remakes.values_lost(bench.lane, [BlockHandle(chunk.id, 2, 0)])
        assert [(items_of([c]), len(c.inputs)) for c in bench.run()] == [([0], 0), ([1], 1), ([2], 1)]
        bench.take()
    assert series.map.values.has_value(items[-1])
    series.let_go(items[-1])
    other.let_go(last)
    bench.take()
    assert bench.dispatcher.tables.ledger.bytes_held == 0


def test_who_comes_to_read_what_was_not_kept_is_told_so(bench: Bench) -> None:
    series = Series(bench)
    first, _ = series.chain(2)
    series.let_go(first)
    [chunk] = bench.take()
    assert chunk.keep == (False, True)
    bench.report(chunk)
    [late] = series.link(first)
    assert bench.take() == []
    assert series.map.codes[late] == states.FAILED
    assert series.map.errors[late].type_name == "ResultReleased"


def test_a_link_that_is_told_late_finds_what_was_let_go_of_meanwhile(bench: Bench) -> None:
    series = Series(bench)
    first = series.first()
    second = next(series.map.inputs.append_index)
    series.map.inputs.links.append((second, first))  # and its event is still to come when its futures die
    series.let_go(first)
    series.let_go(second)
    series.d.intake.append_links(series.map)
    bench.run()
    assert list(series.map.codes) == [states.COMPLETED] * 2
    assert not series.map.consumers.future_refs
    assert bench.dispatcher.tables.ledger.bytes_held == 0


@pytest.mark.parametrize("nbytes", [10, 100_000])
def test_single_runs_go_together_where_their_arguments_are_small(nbytes: int) -> None:
    bench = Bench()
    series = Series(bench)
    series.first()
    bench.run()
    for _ in range(100):
        index = next(series.map.inputs.append_index)
        bench.dispatcher.intake.append_item(series.map, index, ((1, bytes(nbytes)), {}), ())
    sizes = [len(chunk) for chunk in bench.run()]
    assert sum(sizes) == 100
    assert sizes[-2] == (5 if nbytes == 10 else 1), "5 ms of work, or one item at the end"


def test_a_failed_link_takes_those_behind_it_along(bench: Bench) -> None:
    series = Series(bench)
    series.chain(4)
    bench.dispatcher.cancelling.cancel_items(series.map, [1])
    bench.run()
    assert list(series.map.codes[1:]) == [states.CANCELLED, states.TRIGGER_FAILED, states.TRIGGER_FAILED]


def test_a_link_that_waits_names_what_it_waits_for(bench: Bench) -> None:
    series = Series(bench)
    first = series.first()
    bench.take()
    [second] = series.link(first)
    found = standing.of_item(bench.dispatcher.tables, series.map, second)
    assert found is not None
    assert found.reason is not None
    assert found.reason.word == "upstream"
