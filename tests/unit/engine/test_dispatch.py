"""The dispatcher as a state machine: moves in, instructions out, every report made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.chunks import BlockHandle
from anabranch.core.instructions import Put
from anabranch.core.runs import MapRow
from tests.unit.engine.bench import Bench, codes, failed, items_of

if TYPE_CHECKING:
    from collections.abc import Callable

# -- the happy path ------------------------------------------------------------------------------------


def test_a_map_becomes_chunks_and_ends(bench: Bench) -> None:
    map = bench.map(range(10), chunk=3)
    first = bench.take()
    assert [list(c.items) for c in first] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert [list(c.args) for c in first] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert any(isinstance(o, Put) and o.ref == map.sending.stage_ref for o in bench.others)
    bench.run()
    assert map.finished
    assert map.codes == bytes([states.COMPLETED]) * 10
    assert map.queue.sent == 0
    assert not map.queue.running
    assert bench.dispatcher.tables.lanes[0].in_flight == 0
    [last] = [r for r in bench.rows if isinstance(r, MapRow) and r.ended is not None]
    assert last.length == 10


def test_a_lane_is_filled_two_chunks_a_slot(bench: Bench) -> None:
    bench.map(range(100), chunk=1)
    assert items_of(bench.take()) == [0, 1, 2, 3]
    bench.report(bench.queue[0])
    assert items_of(bench.take()) == [4]


def test_chunks_grow_by_what_is_measured(bench: Bench) -> None:
    map = bench.map(range(100_000))
    chunks = bench.run()
    sizes = [len(c) for c in chunks]
    assert sizes[0] == 1
    assert all(b <= 64 * max(sizes[: n + 1]) for n, b in enumerate(sizes[1:]))
    assert max(sizes) == 100, "items of 1 ms come in chunks of 0.1 s"
    assert sorted(items_of(chunks)) == list(range(100_000))
    assert map.finished


def test_a_chunk_is_as_long_as_its_runner_says() -> None:
    bench = Bench(chunk_seconds=0.5)
    bench.map(range(10_000))
    chunks = bench.run()
    assert max(len(c) for c in chunks) == 500
    known = chunks[4:]
    assert known
    for chunk in known:  # and ends when its items, 1 ms each so far, are not what they were
        assert chunk.close_seconds == pytest.approx(10 * max(0.001 * len(chunk), 0.025))


def test_what_is_little_work_is_not_divided(bench: Bench) -> None:
    bench.map(range(200))
    sizes = [len(c) for c in bench.run()]
    assert sizes[-3:-1] == [5, 5], "5 ms of work: a chunk that aims at 0.1 s would rather be alone"
    assert len(sizes) < 30


def test_a_chunk_that_the_user_sized_is_not_ended_early(bench: Bench) -> None:
    bench.map(range(10), chunk=5)
    assert [c.close_seconds for c in bench.take()] == [0.0, 0.0]


def test_an_empty_map_is_finished_at_once(bench: Bench) -> None:
    map = bench.map(range(0))
    assert bench.take() == []
    assert map.finished


def test_urgent_maps_go_first(bench: Bench) -> None:
    bench.map(range(4), chunk=1)
    urgent = bench.map(range(2), chunk=1, priority=5)
    chunks = bench.take()
    assert [c.stages[0] for c in chunks[:2]] == [urgent.sending.stage_ref] * 2


def test_one_that_waits_is_woken_once(bench: Bench) -> None:
    map = bench.map(range(3), chunk=1)
    bench.take()
    calls: list[str] = []
    bench.dispatcher.readers.wait_for(map, 1, lambda: calls.append("item"))
    bench.dispatcher.readers.wait_for(map, None, lambda: calls.append("all"))
    bench.report(bench.queue[1])
    bench.take()
    assert calls == ["item"]
    bench.run()
    assert calls == ["item", "all"]


# -- values --------------------------------------------------------------------------------------------


def test_values_of_a_dropped_list_are_freed() -> None:
    bench = Bench(held=True)
    map = bench.map(range(6), chunk=2)
    chunks = bench.run()
    assert bench.freed == []
    assert bench.dispatcher.tables.ledger.bytes_held == 600
    bench.dispatcher.readers.list_gone(map)
    bench.take()
    assert sorted(bench.freed) == sorted(BlockHandle(c.id, 0, 0) for c in chunks)
    assert bench.dispatcher.tables.ledger.bytes_held == 0
    assert map.footprint.held == 0


def test_an_item_handle_keeps_its_block() -> None:
    bench = Bench(held=True)
    map = bench.map(range(6), chunk=2)
    chunks = bench.run()
    bench.dispatcher.readers.handle_taken(map, 3)
    bench.dispatcher.readers.list_gone(map)
    bench.take()
    kept = next(c for c in chunks if 3 in c.items)
    assert set(bench.freed) == {BlockHandle(c.id, 0, 0) for c in chunks} - {BlockHandle(kept.id, 0, 0)}
    bench.dispatcher.readers.handle_gone(map, 3)
    bench.take()
    assert BlockHandle(kept.id, 0, 0) in bench.freed


def test_a_value_dies_with_its_last_reader() -> None:
    bench = Bench(held=True)
    made = bench.map(range(4), chunk=1)
    producers = bench.run()
    read = bench.map(after=made, chunk=1)
    bench.dispatcher.readers.list_gone(made)
    consumers = bench.take()
    assert bench.freed == []
    assert [[h for h, _ in c.inputs] for c in consumers] == [[BlockHandle(p.id, 0, 0)] for p in producers]
    bench.report(consumers[2])
    bench.take()
    assert bench.freed == [BlockHandle(producers[2].id, 0, 0)]
    bench.run()
    assert read.finished
    assert sorted(bench.freed) == sorted(BlockHandle(p.id, 0, 0) for p in producers)


# -- chains --------------------------------------------------------------------------------------------


def test_a_chain_travels_as_one(bench: Bench) -> None:
    one = bench.map(range(6), chunk=2)
    two = bench.map(after=one)
    three = bench.map(after=two)
    bench.dispatcher.readers.list_gone(one)
    bench.dispatcher.readers.list_gone(two)
    one.consumers.list_refs = two.consumers.list_refs = 0
    chunks = bench.take()
    assert {c.stages for c in chunks} == {(one.sending.stage_ref, two.sending.stage_ref, three.sending.stage_ref)}
    assert {c.keep for c in chunks} == {(False, False, True)}
    bench.run()
    assert one.finished
    assert two.finished
    assert three.finished
    assert three.codes == bytes([states.COMPLETED]) * 6


def test_a_middle_value_that_is_read_elsewhere_is_kept(bench: Bench) -> None:
    one = bench.map(range(4), chunk=2)
    bench.map(after=one)
    assert {c.keep for c in bench.take()} == {(True, True)}


def test_two_consumers_do_not_travel_along(bench: Bench) -> None:
    one = bench.map(range(4), chunk=2)
    two, three = bench.map(after=one), bench.map(after=one)
    assert {c.stages for c in bench.take()} == {(one.sending.stage_ref,)}
    bench.run()
    assert two.finished
    assert three.finished


def test_a_failed_item_stops_its_own_chain_only(bench: Bench) -> None:
    one = bench.map(range(4), chunk=1)
    producers = bench.take()
    two = bench.map(after=one)
    for chunk in producers:
        bad = chunk.items[0] == 2
        bench.report(
            chunk, codes=codes(1, p0=states.FAILED) if bad else None, outcomes=[failed(0)] if bad else [],
        )  # fmt: skip
        bench.take()
    bench.run()
    assert one.failures() == [2]
    assert two.failures() == [2]
    assert two.codes[2] == states.TRIGGER_FAILED
    assert "work" in two.messages[2]


# -- streams -------------------------------------------------------------------------------------------


def drain(bench: Bench) -> None:
    while bench.queue:
        bench.report(bench.queue[0])
        bench.take()


def test_an_open_stream_holds_its_producer_back(bench: Bench) -> None:
    map = bench.map(range(100), chunk=1, window=10)
    bench.dispatcher.readers.stream_opened(map)
    bench.take()
    drain(bench)
    assert map.done == 10
    bench.dispatcher.readers.give_away(map, map.consumers.consumed, 4)
    bench.dispatcher.readers.stream_advanced(map, 4)
    bench.take()
    drain(bench)
    assert map.done == 14
    bench.dispatcher.readers.stream_closed(map, finished=False)
    bench.take()
    drain(bench)
    assert map.done == 100, "a sized map goes on without its reader"


def test_waiting_for_all_lifts_the_hold(bench: Bench) -> None:
    map = bench.map(range(100), chunk=1, window=10)
    bench.dispatcher.readers.stream_opened(map)
    bench.take()
    drain(bench)
    called: list[bool] = []
    done: Callable[[], None] = lambda: called.append(True)  # noqa: E731
    bench.dispatcher.readers.wait_for(map, None, done)
    bench.take()
    drain(bench)
    assert map.finished
    assert called == [True]


def test_what_a_stream_gave_away_is_freed() -> None:
    bench = Bench(held=True)
    map = bench.map(range(6), chunk=2, window=6)
    bench.dispatcher.readers.stream_opened(map)
    chunks = bench.run()
    bench.dispatcher.readers.give_away(map, map.consumers.consumed, 3)
    bench.dispatcher.readers.stream_advanced(map, 3)
    bench.take()
    assert bench.freed == [BlockHandle(chunks[0].id, 0, 0)]
    bench.dispatcher.readers.give_away(map, map.consumers.consumed, 4)
    bench.dispatcher.readers.stream_advanced(map, 4)
    bench.take()
    assert bench.freed == [BlockHandle(c.id, 0, 0) for c in chunks[:2]]


def test_what_running_tasks_submitted_goes_first_the_newest_before_the_others() -> None:
    bench = Bench(slots=1)
    bench.map(range(2), chunk=1)
    bench.take()  # the lane is full
    later = bench.map(range(1))
    outer = bench.map(range(1), parent="task/0")
    inner = bench.map(range(1), parent="task/1")
    urgent = bench.map(range(1), priority=1)
    order = []
    while bench.queue:
        bench.report(bench.queue[0])
        order += [bench.dispatcher.tables.sent[chunk.id].maps[0] for chunk in bench.take()]
    assert order == [urgent, inner, outer, later]
