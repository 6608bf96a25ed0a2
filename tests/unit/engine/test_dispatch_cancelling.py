"""The dispatcher when items are cancelled: queued, running, or waiting for a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.instructions import Shorten
from anabranch.core.reports import Outcome
from tests.unit.engine.bench import Bench, codes, failed, items_of

if TYPE_CHECKING:
    from anabranch.core.chunks import Chunk
    from anabranch.core.maps import MapRun


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


def fused(bench: Bench) -> tuple[MapRun, MapRun, Chunk]:
    """A map and its reader in one chunk."""
    first = bench.map(range(3), chunk=3)
    second = bench.map(after=first)
    [early] = bench.take()
    bench.report(early, 0, final=True)  # nothing was begun: it comes back, and its reader is known now
    [chunk] = bench.take()
    assert len(chunk.stages) == 2
    return first, second, chunk


def test_what_travels_ahead_of_a_cancelled_reader_goes_on(bench: Bench) -> None:
    first, second, chunk = fused(bench)
    bench.dispatcher.cancelling.cancel_map(second)
    bench.take()
    assert bench.cancels == []
    assert [(one.chunk, one.keep) for one in bench.others if isinstance(one, Shorten)] == [(chunk.id, 0)]
    bench.report(chunk, 1, final=True)  # one item had begun, with its reader behind it
    again = bench.run()
    assert [len(one.stages) for one in again] == [1]
    assert items_of(again) == [1, 2]
    assert first.codes == bytes([states.COMPLETED] * 3)
    assert second.codes == bytes([states.CANCELLED] * 3)
    assert first.finished
    assert second.finished
    assert second.done == 3


def test_one_cancelled_reader_takes_only_its_own_item_out(bench: Bench) -> None:
    first, second, chunk = fused(bench)
    bench.dispatcher.cancelling.cancel_items(second, (1,))
    bench.take()
    bench.report(chunk, 0, final=True)
    bench.run()
    assert first.codes == bytes([states.COMPLETED] * 3)
    assert second.codes == bytes([states.COMPLETED, states.CANCELLED, states.COMPLETED])
    assert second.finished


def test_a_map_that_is_cancelled_with_its_reader_never_starts(bench: Bench) -> None:
    first, second, chunk = fused(bench)
    bench.dispatcher.cancelling.cancel_together([second, first])
    bench.take()
    assert {(told.chunk, told.positions) for told in bench.cancels} == {(chunk.id, (0, 1, 2))}
    bench.report(chunk, 0, final=True)
    assert bench.run() == []
    assert set(first.codes) == set(second.codes) == {states.CANCELLED}
    assert first.finished
    assert second.finished
