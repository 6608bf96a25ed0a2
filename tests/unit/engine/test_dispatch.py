"""The dispatcher as a state machine: moves in, instructions out, every report made by hand."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.columns import Source
from anabranch.core.contracts import (
    Binding,
    Capabilities,
    Chunk,
    ChunkLost,
    ErrorInfo,
    Handle,
    Held,
    Inline,
    ItemTimedOut,
    Outcome,
    Report,
    Stage,
    TaskSpec,
)
from anabranch.core.events import CancelChunk, Free, Put, Rows, Send, Wake
from anabranch.core.map_plan import plan_map
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.options import TaskOptions
from anabranch.core.params import Binder
from anabranch.core.runs import MapRow
from anabranch.engine.dispatch import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

COMPLETED = states.COMPLETED


def identity(x: Any) -> Any:
    return x


def never(value: object) -> bool:
    return False


class Bench:
    """A dispatcher with one lane; plays the runner by hand."""

    def __init__(self, slots: int = 2, *, held: bool = False, stops: bool = False) -> None:
        self.dispatcher = Dispatcher()
        capabilities = Capabilities(
            "bench", in_process=not held, values="held" if held else "inline", stops_items=stops
        )
        self.lane = self.dispatcher.add_lane(capabilities, slots, slots)
        self.held = held
        self.queue: list[Chunk] = []  # sent, and not yet reported
        self.freed: list[Handle] = []
        self.cancels: list[CancelChunk] = []
        self.rows: list[Any] = []
        self.others: list[Any] = []

    def take(self) -> list[Chunk]:
        """Carry out all instructions; the chunks sent by them."""
        fresh: list[Chunk] = []
        for one in self.dispatcher.take():
            if isinstance(one, Send):
                fresh += one.chunks
            elif isinstance(one, Free):
                self.freed += one.handles
            elif isinstance(one, CancelChunk):
                self.cancels.append(one)
            elif isinstance(one, Rows):
                self.rows += one.rows
            elif isinstance(one, Wake):
                for call in one.calls:
                    call()
            else:
                self.others.append(one)
        self.queue += fresh
        return fresh

    def map(
        self, items: Any = None, *, after: MapRun | None = None, chunk: int | None = None, kept: bool = True,
        length: int | None = None, window: int | None = None, **options: Any,
    ) -> MapRun:  # fmt: skip
        chosen = TaskOptions(name="work", **options)
        d = self.dispatcher
        source = None
        if items is not None:
            source = Source(plan_map(Binder(identity, "work"), (items,), {}, never, never))
            length = len(items) if length is None and source.random_access else length
        feeds = (Upstream(after, None),) if after is not None else ()
        map = MapRun(
            f"map-{d.new_ref()}", TaskSpec("work", identity, chosen), chosen, kind="map", lane=self.lane, keep=True,
            source=source, feeds=feeds,
        )  # fmt: skip
        map.layout = (-1,) if feeds else None
        map.spec_ref, map.stage_ref = d.new_ref(), d.new_ref()
        map.chunk_option, map.window = chunk, window
        map.list_handles = 1 if kept else 0
        d.open_map(map, Stage(map.spec_ref, None, Binding(args=(("item", 0),)), map.id), None, length=length)
        return map

    def block(self, values: list[Any]) -> Any:
        return Held(100 * len(values)) if self.held else Inline(values, 100 * len(values))

    def report(
        self, chunk: Chunk, count: int | None = None, first: int = 0, *, final: bool = True, **more: Any
    ) -> None:
        """All of these positions completed, unless `more` says otherwise."""
        count = len(chunk) - first if count is None else count
        if first + count == len(chunk) or final:
            self.queue = [c for c in self.queue if c.id != chunk.id]
        if "blocks" not in more:
            more["blocks"] = tuple(
                self.block([(stage, i) for i in chunk.items[first : first + count]]) if keep and count else None
                for stage, keep in enumerate(chunk.keep)
            )
        times = array("i", [1000] * count)
        self.dispatcher.report(Report(chunk.id, first, count, final, 1.0, times, times, worker="w", **more))

    def run(self) -> list[Chunk]:
        """Report everything that is sent until nothing more is."""
        seen: list[Chunk] = []
        self.take()
        while self.queue:
            chunk = self.queue[0]
            seen.append(chunk)
            self.report(chunk)
            self.take()
        return seen


@pytest.fixture
def bench() -> Bench:
    return Bench()


def items_of(chunks: list[Chunk]) -> list[int]:
    return [i for chunk in chunks for i in chunk.items]


def failed(position: int, code: int = states.FAILED, **more: Any) -> Outcome:
    return Outcome(0, position, code, "no good", error=ErrorInfo("ValueError", "no good", ""), **more)


def codes(count: int, **bad: int) -> tuple[bytes]:
    row = bytearray([COMPLETED]) * count
    for position, code in bad.items():
        row[int(position[1:])] = code
    return (bytes(row),)


# -- the happy path ------------------------------------------------------------------------------------


def test_a_map_becomes_chunks_and_ends(bench: Bench) -> None:
    map = bench.map(range(10), chunk=3)
    first = bench.take()
    assert [list(c.items) for c in first] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert [list(c.args) for c in first] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert any(isinstance(o, Put) and o.ref == map.stage_ref for o in bench.others)
    bench.run()
    assert map.finished
    assert map.codes == bytes([COMPLETED]) * 10
    assert map.sent == 0
    assert not map.running
    assert bench.dispatcher.lanes[0].in_flight == 0
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
    assert all(b <= 8 * max(sizes[: n + 1]) for n, b in enumerate(sizes[1:]))
    assert max(sizes) == 100, "items of 1 ms come in chunks of 0.1 s"
    assert sorted(items_of(chunks)) == list(range(100_000))
    assert map.finished


def test_an_empty_map_is_finished_at_once(bench: Bench) -> None:
    map = bench.map(range(0))
    assert bench.take() == []
    assert map.finished


def test_urgent_maps_go_first(bench: Bench) -> None:
    bench.map(range(4), chunk=1)
    urgent = bench.map(range(2), chunk=1, priority=5)
    chunks = bench.take()
    assert [c.stages[0] for c in chunks[:2]] == [urgent.stage_ref] * 2


def test_one_that_waits_is_woken_once(bench: Bench) -> None:
    map = bench.map(range(3), chunk=1)
    bench.take()
    calls: list[str] = []
    bench.dispatcher.wait_for(map, 1, lambda: calls.append("item"))
    bench.dispatcher.wait_for(map, None, lambda: calls.append("all"))
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
    assert bench.dispatcher.ledger.bytes_held == 600
    bench.dispatcher.list_gone(map)
    bench.take()
    assert sorted(bench.freed) == sorted(Handle(c.id, 0, 0) for c in chunks)
    assert bench.dispatcher.ledger.bytes_held == 0
    assert map.bytes_held == 0


def test_an_item_handle_keeps_its_block() -> None:
    bench = Bench(held=True)
    map = bench.map(range(6), chunk=2)
    chunks = bench.run()
    bench.dispatcher.handle_taken(map, 3)
    bench.dispatcher.list_gone(map)
    bench.take()
    kept = next(c for c in chunks if 3 in c.items)
    assert set(bench.freed) == {Handle(c.id, 0, 0) for c in chunks} - {Handle(kept.id, 0, 0)}
    bench.dispatcher.handle_gone(map, 3)
    bench.take()
    assert Handle(kept.id, 0, 0) in bench.freed


def test_a_value_dies_with_its_last_reader() -> None:
    bench = Bench(held=True)
    made = bench.map(range(4), chunk=1)
    producers = bench.run()
    read = bench.map(after=made, chunk=1)
    bench.dispatcher.list_gone(made)
    consumers = bench.take()
    assert bench.freed == []
    assert [[h for h, _ in c.inputs] for c in consumers] == [[Handle(p.id, 0, 0)] for p in producers]
    bench.report(consumers[2])
    bench.take()
    assert bench.freed == [Handle(producers[2].id, 0, 0)]
    bench.run()
    assert read.finished
    assert sorted(bench.freed) == sorted(Handle(p.id, 0, 0) for p in producers)


# -- chains --------------------------------------------------------------------------------------------


def test_a_chain_travels_as_one(bench: Bench) -> None:
    one = bench.map(range(6), chunk=2)
    two = bench.map(after=one)
    three = bench.map(after=two)
    bench.dispatcher.list_gone(one)
    bench.dispatcher.list_gone(two)
    one.list_handles = two.list_handles = 0
    chunks = bench.take()
    assert {c.stages for c in chunks} == {(one.stage_ref, two.stage_ref, three.stage_ref)}
    assert {c.keep for c in chunks} == {(False, False, True)}
    bench.run()
    assert one.finished
    assert two.finished
    assert three.finished
    assert three.codes == bytes([COMPLETED]) * 6


def test_a_middle_value_that_is_read_elsewhere_is_kept(bench: Bench) -> None:
    one = bench.map(range(4), chunk=2)
    bench.map(after=one)
    assert {c.keep for c in bench.take()} == {(True, True)}


def test_two_consumers_do_not_travel_along(bench: Bench) -> None:
    one = bench.map(range(4), chunk=2)
    two, three = bench.map(after=one), bench.map(after=one)
    assert {c.stages for c in bench.take()} == {(one.stage_ref,)}
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


# -- retries -------------------------------------------------------------------------------------------


def test_a_retry_waits_for_its_time() -> None:
    bench = Bench()
    bench.dispatcher.tick(100.0)
    map = bench.map(range(3), chunk=3, retries=1)
    [chunk] = bench.take()
    bench.report(
        chunk, codes=codes(3, p1=states.AWAITING_RETRY), outcomes=[failed(1, states.AWAITING_RETRY, delay=5.0)]
    )
    assert bench.take() == []
    assert not map.finished
    assert map.state(1).name == "AwaitingRetry"
    assert bench.dispatcher.next_due() == 105.0
    bench.dispatcher.tick(104.9)
    assert bench.take() == []
    bench.dispatcher.tick(105.0)
    [again] = bench.take()
    assert list(again.items) == [1]
    assert again.attempts is not None
    assert list(again.attempts) == [2]
    bench.run()
    assert map.finished
    assert map.failures() == []
    assert map.attempt(1) == 2
    assert bench.dispatcher.next_due() is None


def test_a_timed_out_item_is_retried_then_given_up(bench: Bench) -> None:
    map = bench.map(range(1), retries=1, timeout_seconds=2.0)
    for attempt in (1, 2):
        [chunk] = bench.take()
        assert list(chunk.attempts or [1]) == [attempt]
        bench.dispatcher.item_timed_out(ItemTimedOut(chunk.id, 0, 0, 2.0))
        bench.dispatcher.chunk_lost(ChunkLost(chunk.id, "stopped"))
        bench.dispatcher.tick(bench.dispatcher.now + 1.0)
    assert bench.take() == []
    assert map.codes[0] == states.TIMED_OUT
    assert map.finished


# -- chunks that are lost ------------------------------------------------------------------------------


def test_a_lost_chunk_comes_back_in_eighths(bench: Bench) -> None:
    map = bench.map(range(64), chunk=64)
    [chunk] = bench.take()
    bench.queue.clear()
    bench.dispatcher.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone"))
    again = bench.take()
    assert len(again) == 4, "two chunks a slot"
    assert [list(c.items) for c in again] == [list(range(n, n + 8)) for n in range(0, 32, 8)]
    bench.run()
    assert map.finished
    assert map.failures() == []
    assert set(map.attempts.values()) == {2}


def test_what_was_reported_is_not_sent_again(bench: Bench) -> None:
    map = bench.map(range(10), chunk=10)
    [chunk] = bench.take()
    bench.report(chunk, 6, final=False)
    bench.queue.clear()
    bench.dispatcher.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone", (6,), True))
    again = bench.take()
    assert sorted(items_of(again)) == [6, 7, 8, 9]
    assert [6] in [list(c.items) for c in again], "the suspect travels alone"
    assert map.attempts == {6: 2}, "only the suspect has spent an attempt"
    bench.run()
    assert map.failures() == []


def test_three_deaths_are_poison(bench: Bench) -> None:
    map = bench.map(range(1))
    for _ in range(3):
        [chunk] = bench.take()
        bench.dispatcher.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone", (0,), True))
    assert bench.take() == []
    assert map.codes[0] == states.CRASHED
    assert "poison" in map.messages[0]
    assert map.finished


def test_poison_is_found_without_suspects(bench: Bench) -> None:
    """Some engines cannot say which item did it: narrowing down must end, and spare the innocent."""
    map = bench.map(range(64), chunk=64)
    bench.take()
    sent = 0
    while bench.queue:
        chunk = bench.queue.pop(0)
        sent += 1
        assert sent < 200
        if 37 in chunk.items:
            bench.dispatcher.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone"))
        else:
            bench.report(chunk)
        bench.take()
    assert map.finished
    assert map.failures() == [37]
    assert map.codes[37] == states.CRASHED


def test_a_stopped_chunk_costs_no_attempt(bench: Bench) -> None:
    map = bench.map(range(4), chunk=4)
    [chunk] = bench.take()
    bench.queue.clear()
    bench.dispatcher.chunk_lost(ChunkLost(chunk.id, "stopped"))
    assert sorted(items_of(bench.take())) == [0, 1, 2, 3]
    assert map.attempts == {}


def test_items_that_were_not_started_go_back_uncounted(bench: Bench) -> None:
    map = bench.map(range(4), chunk=4)
    [chunk] = bench.take()
    bench.report(chunk, 1)
    assert sorted(items_of(bench.take())) == [1, 2, 3]
    bench.run()
    assert map.finished
    assert map.attempts == {}


def test_a_late_report_is_refused() -> None:
    bench = Bench(held=True)
    map = bench.map(range(2), chunk=2)
    [chunk] = bench.take()
    bench.queue.clear()
    bench.dispatcher.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone", (0,), True))
    bench.take()
    bench.report(chunk)
    bench.take()
    assert map.done == 0
    assert bench.freed == [Handle(chunk.id, 0, 0)], "its values are dropped where they are"
    bench.run()
    assert map.finished
    assert map.done == 2
    assert Handle(chunk.id, 0, 0) not in [b.handle for b in (*map.blocks, *map.moved.values())]


def test_a_report_that_comes_twice_counts_once(bench: Bench) -> None:
    map = bench.map(range(4), chunk=4)
    [chunk] = bench.take()
    bench.report(chunk, 2, final=False)
    bench.report(chunk, 2, final=False)
    assert map.done == 2
    assert map.sent == 2
    bench.report(chunk, 2, first=2)
    bench.report(chunk, 2, first=2)
    bench.take()
    assert map.done == 4
    assert map.finished


def test_lost_values_are_made_again_for_their_readers() -> None:
    bench = Bench(held=True)
    map = bench.map(range(4), chunk=2)
    chunks = bench.run()
    gone = Handle(chunks[0].id, 0, 0)
    bench.dispatcher.values_lost(bench.lane, [gone])
    assert not map.finished
    assert items_of(bench.take()) == [0, 1]
    bench.run()
    assert map.finished
    assert map.attempts == {0: 2, 1: 2}
    assert all(map.block_of(i) is not None for i in range(4))


def test_a_lost_engine_crashes_what_was_to_do(bench: Bench) -> None:
    map = bench.map(range(10), chunk=1)
    bench.take()
    bench.report(bench.queue[0])
    bench.dispatcher.engine_lost(bench.lane, "gone")
    bench.take()
    assert map.finished
    assert map.codes[0] == COMPLETED
    assert set(map.codes[1:]) == {states.CRASHED}
    assert "engine-lost" in map.messages[5]


# -- cancelling ----------------------------------------------------------------------------------------


def test_cancelled_items_never_start(bench: Bench) -> None:
    map = bench.map(range(10), chunk=1)
    bench.take()
    bench.dispatcher.cancel_map(map)
    assert bench.take() == []
    assert {c.chunk for c in bench.cancels} == {c.id for c in bench.queue}
    assert set(map.codes) == {states.CANCELLED}
    for chunk in list(bench.queue):  # what was running all the same is not accepted
        bench.report(chunk)
    assert bench.take() == []
    assert set(map.codes) == {states.CANCELLED}
    assert map.finished
    assert map.done == 10


def test_one_cancelled_item_spares_its_chunk(bench: Bench) -> None:
    map = bench.map(range(4), chunk=4)
    [chunk] = bench.take()
    bench.dispatcher.cancel_items(map, (2,))
    bench.take()
    [told] = bench.cancels
    assert (told.chunk, told.positions) == (chunk.id, (2,))
    bench.report(chunk, codes=codes(4, p2=states.CANCELLED), outcomes=[Outcome(0, 2, states.CANCELLED)])
    bench.take()
    assert map.failures() == [2]
    assert map.finished
    assert map.done == 4


def test_running_items_are_stopped_where_that_is_possible() -> None:
    for stops in (True, False):
        bench = Bench(stops=stops)
        map = bench.map(range(1))
        bench.take()
        bench.dispatcher.cancel_items(map, (0,))
        bench.take()
        assert [c.force for c in bench.cancels] == [stops]


def test_a_cancelled_retry_does_not_come_back(bench: Bench) -> None:
    map = bench.map(range(1), retries=3)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(1, p0=states.AWAITING_RETRY), outcomes=[failed(0, states.AWAITING_RETRY, delay=5)])
    bench.dispatcher.cancel_items(map, (0,))
    bench.dispatcher.tick(1000.0)
    assert bench.take() == []
    assert map.codes[0] == states.CANCELLED
    assert map.finished


# -- streams -------------------------------------------------------------------------------------------


def drain(bench: Bench) -> None:
    while bench.queue:
        bench.report(bench.queue[0])
        bench.take()


def test_an_open_stream_holds_its_producer_back(bench: Bench) -> None:
    map = bench.map(range(100), chunk=1, window=10)
    bench.dispatcher.stream_opened(map)
    bench.take()
    drain(bench)
    assert map.done == 10
    bench.dispatcher.give_away(map, map.consumed, 4)
    bench.dispatcher.stream_advanced(map, 4)
    bench.take()
    drain(bench)
    assert map.done == 14
    bench.dispatcher.stream_closed(map, finished=False)
    bench.take()
    drain(bench)
    assert map.done == 100, "a sized map goes on without its reader"


def test_waiting_for_all_lifts_the_hold(bench: Bench) -> None:
    map = bench.map(range(100), chunk=1, window=10)
    bench.dispatcher.stream_opened(map)
    bench.take()
    drain(bench)
    called: list[bool] = []
    done: Callable[[], None] = lambda: called.append(True)  # noqa: E731
    bench.dispatcher.wait_for(map, None, done)
    bench.take()
    drain(bench)
    assert map.finished
    assert called == [True]


def test_what_a_stream_gave_away_is_freed() -> None:
    bench = Bench(held=True)
    map = bench.map(range(6), chunk=2, window=6)
    bench.dispatcher.stream_opened(map)
    chunks = bench.run()
    bench.dispatcher.give_away(map, map.consumed, 3)
    bench.dispatcher.stream_advanced(map, 3)
    bench.take()
    assert bench.freed == [Handle(chunks[0].id, 0, 0)]
    bench.dispatcher.give_away(map, map.consumed, 4)
    bench.dispatcher.stream_advanced(map, 4)
    bench.take()
    assert bench.freed == [Handle(c.id, 0, 0) for c in chunks[:2]]
