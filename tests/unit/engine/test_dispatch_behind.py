"""Items that travel behind their producers in one chunk, when a producer is given up on the way."""

from __future__ import annotations

from anabranch.core import states
from anabranch.core.events import ChunkLost, ItemTimedOut
from tests.unit.engine.bench import Bench, failed, items_of


def test_the_rest_behind_a_timed_out_producer_ends(bench: Bench) -> None:
    first = bench.map(range(24), chunk=24, timeout_seconds=1.0)
    [chunk] = bench.take()  # before its consumer is known
    second = bench.map(after=first)
    bench.report(chunk, 1)
    fused = [c for c in bench.take() if len(c.stages) == 2]
    [chunk, *_] = fused
    at = chunk.items[0]
    bench.dispatcher.timeouts.item_timed_out(ItemTimedOut(chunk.id, 0, 0, 1.0))
    bench.queue.remove(chunk)
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "stopped"))
    bench.run()
    assert first.codes[at] == states.TIMED_OUT
    assert second.codes[at] == states.TRIGGER_FAILED
    assert second.finished
    assert second.codes.count(states.COMPLETED) == 23


def test_a_time_out_of_a_position_that_was_taken_back_is_not_heard(bench: Bench) -> None:
    map = bench.map(range(6), chunk=6, timeout_seconds=1.0)
    [chunk] = bench.take()
    bench.dispatcher.reports.chunk_waits(chunk.id, 0, True)
    again = bench.take()
    assert items_of(again) == [1, 2, 3, 4, 5]
    bench.dispatcher.timeouts.item_timed_out(ItemTimedOut(chunk.id, 0, 1, 1.0))  # it had begun before the worker heard
    assert map.codes[1] == states.PENDING
    bench.dispatcher.reports.chunk_waits(chunk.id, 0, False)
    bench.run()
    assert map.finished
    assert map.failures() == []


def test_the_worker_leaves_the_rest_of_a_failed_item_to_the_driver(bench: Bench) -> None:
    first = bench.map(range(3), chunk=3)
    second = bench.map(after=first)
    [early] = bench.take()
    bench.report(early, 0, final=True)  # nothing was begun: it comes back, and its consumer is known now
    [chunk] = bench.take()
    assert len(chunk.stages) == 2
    told = [bytes([7, states.FAILED, 7]), bytes([7, states.PENDING, 7])]
    bench.report(chunk, codes=tuple(told), outcomes=[failed(1)])
    bench.run()
    assert list(second.codes) == [states.COMPLETED, states.TRIGGER_FAILED, states.COMPLETED]
    assert second.inputs.causes == {1: ((first, 1),)}
