"""What a slot spent, from what its worker and the driver know of a chunk."""

from __future__ import annotations

from anabranch.core.spent import Spent, both, spent_of


def test_idle_time_is_split_at_the_sending_and_at_the_map() -> None:
    noted = (5_000_000, 1000, 300, 20)  # idle, reading, elapsed, packing
    found = spent_of(noted, 250.0, began=110.001, sent=109.0, made=107.0)
    assert found == Spent(2_000_000, 2_000_000, 1_000_000, 1000, 250, 50, 20)


def test_a_slot_that_was_not_idle_for_so_long_waited_for_the_chunk_alone() -> None:
    """The chunk was sent while another one ran: what lay in the worker's queue is no loss."""
    found = spent_of((700, 0, 300, 0), 300.0, began=110.0, sent=109.0, made=100.0)
    assert found[:3] == (0, 0, 700)


def test_the_parts_of_a_chunk_add_up_to_its_time() -> None:
    noted = (1234, 56, 789, 12)
    for sent in (90.0, 99.9995, 100.0, 250.0):  # also where clocks differ
        found = spent_of(noted, 500.0, began=100.0, sent=sent, made=sent - 0.0001)
        assert sum(found) == 1234 + 56 + 789 + 12
        assert min(found) >= 0


def test_items_that_ran_together_count_once() -> None:
    found = spent_of((-1, 0, 1000, 0), 32_000.0, began=1.0, sent=1.0, made=1.0)
    assert found == Spent(calls=1000)


def test_a_first_chunk_says_nothing_of_the_time_before_it() -> None:
    found = spent_of((-1, 5, 10, 0), 10.0, began=100.0, sent=0.0, made=0.0)
    assert found == Spent(reading=5, calls=10)


def test_sums() -> None:
    one = Spent(1, 2, 3, 4, 5, 6, 7)
    assert both(one, one) == Spent(2, 4, 6, 8, 10, 12, 14)
