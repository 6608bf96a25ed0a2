"""Sizes of chunks, from what reports have told."""

from __future__ import annotations

from anabranch.engine.chunks import MAX_ITEMS, Pace, between_reports, window
from tests.unit.engine.bench import Bench


def test_values_of_no_bytes_bound_nothing_however_often_they_are_told() -> None:
    """The average of ever smaller numbers is one that divides into infinity."""
    pace = Pace(0.1)
    pace.learn(1, 1e-5, 400)
    for _ in range(3000):
        pace.learn(MAX_ITEMS, MAX_ITEMS * 1e-6, 0)
        assert 1 <= pace.size(1 << 30, 2) <= MAX_ITEMS
        assert window(2, pace) >= 4


def test_large_values_make_small_chunks() -> None:
    pace = Pace(0.1)
    pace.learn(1, 1e-6, 128 << 10)
    assert pace.size(1 << 30, 2) == 32
    pace.learn(1, 1e-6, 1 << 20)
    assert pace.size(1 << 30, 2) == 1


def test_chunks_grow_with_the_slots_because_all_of_them_pass_one_driver() -> None:
    """Ten thousand workers with items of a second would send ten thousand chunks a second."""
    pace = Pace(0.1)
    pace.learn(1, 1.0, 0)
    assert [pace.size(1 << 30, slots) for slots in (2, 250, 1_000, 10_000)] == [1, 1, 4, 40]
    assert pace.size(400_000, 10_000) == 10  # and less, where the last workers would wait for one chunk
    assert pace.too_long(40, 10_000) == 400.0


def test_chunks_on_few_slots_are_as_long_as_their_runner_asks() -> None:
    pace = Pace(0.1)
    pace.learn(1, 0.001, 0)
    assert [pace.size(1 << 30, slots) for slots in (1, 2, 25)] == [64, 64, 64]
    pace.learn(64, 0.064, 0)
    assert [pace.size(1 << 30, slots) for slots in (1, 2, 25)] == [100, 100, 100]


def test_a_running_chunk_reports_the_rarer_the_more_of_them_there_are() -> None:
    assert [between_reports(slots) for slots in (1, 2, 12, 1_000, 10_000)] == [0.1, 0.1, 0.1, 8.0, 80.0]


def test_items_that_come_back_one_by_one_do_not_shrink_the_chunks_of_all_others() -> None:
    """A lost node leaves hundreds of ranges behind, each to be sent by itself."""
    bench = Bench(2)
    map = bench.map(range(100_000))
    first, second, *_ = bench.take()
    bench.report(first)
    [third] = bench.take()
    assert len(third) == 64
    map.queue.ready.extend((index, index + 1, True) for index in range(99_000, 99_200))
    bench.report(second)
    [fourth] = bench.take()
    assert len(fourth) == 64
