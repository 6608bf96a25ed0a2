"""The dispatcher when items are cancelled: queued, running, or waiting for a retry."""

from __future__ import annotations

from anabranch.core import states
from anabranch.core.reports import Outcome
from tests.unit.engine.bench import Bench, codes, failed


def test_cancelled_items_never_start(bench: Bench) -> None:
    map = bench.map(range(10), chunk=1)
    bench.take()
    bench.dispatcher.cancelling.cancel_map(map)
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
    bench.dispatcher.cancelling.cancel_items(map, (2,))
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
        bench.dispatcher.cancelling.cancel_items(map, (0,))
        bench.take()
        assert [c.force for c in bench.cancels] == [stops]


def test_a_cancelled_retry_does_not_come_back(bench: Bench) -> None:
    map = bench.map(range(1), retries=3)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(1, p0=states.AWAITING_RETRY), outcomes=[failed(0, states.AWAITING_RETRY, delay=5)])
    bench.dispatcher.cancelling.cancel_items(map, (0,))
    bench.dispatcher.tick(1000.0)
    assert bench.take() == []
    assert map.codes[0] == states.CANCELLED
    assert map.finished
