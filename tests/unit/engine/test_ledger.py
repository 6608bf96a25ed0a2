"""Who still reads a value, by counting: a block lives as long as one of its values may be asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anabranch.core.chunks import BlockHandle
from anabranch.core.reports import Held, Inline, Packed
from anabranch.core.states import COMPLETED
from anabranch.core.value_index import RELEASED, ValueBlock
from anabranch.engine.ledger import Ledger
from anabranch.engine.memory import SMALLEST
from tests.unit.engine.bench import Bench

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun

ITEMS = 8


def completed(items: int = ITEMS, *, list_held: bool = False) -> MapRun:
    """A map whose items have completed, and whose values have not come yet."""
    map = Bench().map(range(items), kept=list_held)
    map.codes[:] = bytes([COMPLETED]) * items
    return map


def add(ledger: Ledger, map: MapRun, first: int, count: int, *, held: bool = True, nbytes: int = 100) -> ValueBlock:
    content: Any = Held(nbytes) if held else Inline(list(range(first, first + count)), nbytes)
    block = ValueBlock(BlockHandle(first, 0, 0), 0, range(first, first + count), content, nbytes)
    map.values.add(block, overlay=False)
    ledger.added(map, block, here=held)
    return block


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


# -- who holds a value -----------------------------------------------------------------------------------


def test_what_nobody_reads_goes(ledger: Ledger) -> None:
    map = completed()
    block = add(ledger, map, 0, ITEMS)
    assert (ledger.bytes_held, map.footprint.held) == (100, 100)
    ledger.settle(map, 0, ITEMS)
    assert ledger.take_freed() == [block]
    assert ledger.take_freed() == []
    assert (ledger.bytes_held, map.footprint.held, map.footprint.released) == (0, 0, 100)
    assert map.values.block_of(0) is None


def test_the_list_holds_all_until_it_goes(ledger: Ledger) -> None:
    map = completed(list_held=True)
    block = add(ledger, map, 0, ITEMS)
    ledger.settle(map, 0, ITEMS)
    assert ledger.take_freed() == []
    map.consumers.list_refs = 0
    ledger.list_gone(map)
    assert ledger.take_freed() == [block]


def test_a_consumer_of_the_whole_list_holds_all(ledger: Ledger) -> None:
    map = completed()
    map.consumers.unfinished_lists = 1
    add(ledger, map, 0, ITEMS)
    ledger.list_gone(map)
    assert ledger.take_freed() == []
    map.consumers.unfinished_lists = 0
    ledger.list_gone(map)
    assert len(ledger.take_freed()) == 1


def test_a_block_goes_with_the_last_item_that_its_consumer_reads(ledger: Ledger) -> None:
    map = completed()
    ledger.add_map_consumer(map)
    first, second = add(ledger, map, 0, 4), add(ledger, map, 4, 4)
    ledger.items_read(map, 0, 3)
    ledger.items_read(map, 4, 8)
    assert ledger.take_freed() == [second]
    ledger.items_read(map, 3, 4)
    assert ledger.take_freed() == [first]


def test_each_of_two_consumers_has_to_read(ledger: Ledger) -> None:
    map = completed()
    ledger.add_map_consumer(map)
    ledger.add_map_consumer(map)
    add(ledger, map, 0, ITEMS)
    ledger.items_read(map, 0, ITEMS)
    assert ledger.take_freed() == []
    ledger.items_read(map, 0, ITEMS)
    assert len(ledger.take_freed()) == 1


def test_a_future_of_one_item_holds_its_block(ledger: Ledger) -> None:
    map = completed()
    block = add(ledger, map, 0, ITEMS)
    map.consumers.future_refs[3] = 2
    ledger.settle(map, 0, ITEMS)
    ledger.item_handle_gone(map, 3)
    assert ledger.take_freed() == [], "one more holds it"
    ledger.item_handle_gone(map, 3)
    assert ledger.take_freed() == [block]


def test_a_single_run_holds_what_it_is_about_to_read(ledger: Ledger) -> None:
    map = completed()
    ledger.add_item_reader(map, 2)
    block = add(ledger, map, 0, ITEMS)
    ledger.settle(map, 0, ITEMS)
    assert ledger.wanted_item(map, 2)
    assert not ledger.wanted_item(map, 3)
    ledger.items_read(map, 2, 3)
    assert ledger.take_freed() == [block]


def test_more_readers_than_can_be_counted_are_never_done(ledger: Ledger) -> None:
    """Counting saturates: a value may live too long, never too short."""
    map = completed()
    for _ in range(300):
        ledger.add_item_reader(map, 0)
    add(ledger, map, 0, ITEMS)
    for _ in range(254):
        ledger.items_read(map, 0, 1)
    assert ledger.wanted_item(map, 0)


def test_items_that_come_later_have_the_readers_of_their_map(ledger: Ledger) -> None:
    map = completed(3)
    consumer = completed(3)
    ledger.add_map_consumer(map)
    map.consumers.maps.append(consumer)
    map.codes.append(COMPLETED)
    ledger.grow(map)
    map.codes.extend([COMPLETED] * 3)
    ledger.grow(map)
    assert list(map.consumers.unfinished or ()) == [1] * 7


# -- parts of a block ------------------------------------------------------------------------------------


def test_values_in_the_drivers_hands_go_one_by_one(ledger: Ledger) -> None:
    map = completed()
    ledger.add_map_consumer(map)
    block = add(ledger, map, 0, ITEMS, held=False)
    ledger.items_read(map, 0, 6)
    assert isinstance(block.content, Inline)
    assert block.content.values == [RELEASED] * 6 + [6, 7]
    ledger.items_read(map, 6, 8)
    assert block.content is None
    assert ledger.take_freed() == [], "no runner holds it"


def test_a_block_that_is_nearly_dead_is_told_once(ledger: Ledger) -> None:
    """It counts whole as long as one value of it lives: what lives may be moved to a block of its own."""
    map = completed(64)
    block = add(ledger, map, 0, 64, nbytes=SMALLEST)
    map.consumers.future_refs.update(dict.fromkeys(range(64), 1))
    for index in range(3, 64):
        ledger.item_handle_gone(map, index)
    assert ledger.thin == [(map, block, [0, 1, 2, 60, 61, 62, 63])]
    assert not block.movable


def test_a_small_block_is_not_worth_it(ledger: Ledger) -> None:
    map = completed(64)
    add(ledger, map, 0, 64, nbytes=SMALLEST - 1)
    map.consumers.future_refs[0] = 1
    ledger.settle(map, 0, 64)
    assert ledger.thin == []


def test_a_stream_gives_up_what_it_has_given(ledger: Ledger) -> None:
    """The list is held by whoever streams it; its claim on the items behind the reader is over."""
    map = completed(list_held=True)
    first, second = add(ledger, map, 0, 4), add(ledger, map, 4, 4)
    map.consumers.future_refs[5] = 1
    ledger.give_up(map, 0, 6)
    assert ledger.take_freed() == [first]
    ledger.give_up(map, 6, 8)
    assert ledger.take_freed() == [], "a future of item 5 is there"
    assert map.values.block_of(5) is second
    assert map.consumers.list_refs == 1


@pytest.mark.parametrize("held", [True, False])
def test_what_a_stream_gives_costs_by_blocks_and_not_by_items(ledger: Ledger, held: bool) -> None:
    map = completed(items := 10_000, list_held=True)
    for first in range(0, items, 1_000):
        add(ledger, map, first, 1_000, held=held)
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for lo in range(0, items, 500):
            ledger.give_up(map, lo, lo + 500)
    finally:
        sys.setprofile(None)
    assert map.values.blocks == []
    assert calls < items / 10


# -- where it lies ---------------------------------------------------------------------------------------


def test_what_was_lost_counts_no_more_and_is_not_freed(ledger: Ledger) -> None:
    map = completed(list_held=True)
    block = add(ledger, map, 0, ITEMS)
    ledger.lost(map, block)
    assert (ledger.bytes_held, map.footprint.held, ledger.memory.taken) == (0, 0, 0)
    assert ledger.take_freed() == []
    assert map.footprint.released == 0


def test_what_lies_on_disk_takes_no_memory_and_is_freed_there(ledger: Ledger) -> None:
    map = completed()
    map.consumers.future_refs[0] = 1
    block = add(ledger, map, 0, ITEMS, nbytes=SMALLEST)
    ledger.memory.budget = 0
    assert ledger.memory.choose() == [(map, block)]
    content = Held(SMALLEST)
    assert ledger.spilled(map, block, content)
    assert (ledger.memory.taken, ledger.bytes_held, map.footprint.spilled) == (0, SMALLEST, SMALLEST)
    ledger.item_handle_gone(map, 0)
    assert ledger.take_freed() == [block]


def test_what_went_while_it_was_written_is_not_on_disk(ledger: Ledger) -> None:
    map = completed()
    block = add(ledger, map, 0, ITEMS, nbytes=SMALLEST)
    ledger.memory.budget = 0
    ledger.memory.choose()
    ledger.settle(map, 0, ITEMS)
    assert not ledger.spilled(map, block, Held(SMALLEST))
    assert (ledger.memory.taken, ledger.memory.leaving, map.footprint.spilled) == (0, 0, 0)


def test_what_the_driver_pickled_is_counted_apart(ledger: Ledger) -> None:
    map = completed(1)
    block = ValueBlock(BlockHandle(0, 0, 0), 0, range(1), Packed.__new__(Packed), 70)
    map.values.add(block, overlay=False)
    ledger.added(map, block)
    assert (ledger.bytes_packed, ledger.bytes_held) == (70, 70)
    ledger.settle(map, 0, 1)
    assert (ledger.bytes_packed, ledger.bytes_held) == (0, 0)


# -- in any order ----------------------------------------------------------------------------------------


class Readers(RuleBasedStateMachine):
    """Readers come before values and go in any order: a value is there exactly as long as one of them may ask."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger, self.map = Ledger(), completed(list_held=True)
        self.blocks = [add(self.ledger, self.map, first, 2) for first in range(0, ITEMS, 2)]
        self.left = [set(range(ITEMS)) for _ in range(2)]  # what each consumer has still to read
        for _ in self.left:
            self.ledger.add_map_consumer(self.map)
        self.futures = {1: 1, 4: 2}
        self.map.consumers.future_refs.update(self.futures)
        self.held = True

    @rule(who=st.integers(0, 1), lo=st.integers(0, ITEMS - 1), count=st.integers(1, 3))
    def read(self, who: int, lo: int, count: int) -> None:
        hi = lo
        while hi < min(lo + count, ITEMS) and hi in self.left[who]:
            hi += 1
        if hi > lo:
            self.left[who] -= set(range(lo, hi))
            self.ledger.items_read(self.map, lo, hi)

    @precondition(lambda self: self.futures)
    @rule(pick=st.integers(0, 1))
    def let_a_future_go(self, pick: int) -> None:
        index = sorted(self.futures)[pick % len(self.futures)]
        self.futures[index] -= 1
        if not self.futures[index]:
            del self.futures[index]
        self.ledger.item_handle_gone(self.map, index)

    @precondition(lambda self: self.held)
    @rule()
    def let_the_list_go(self) -> None:
        self.held = False
        self.map.consumers.list_refs = 0
        self.ledger.list_gone(self.map)

    @invariant()
    def what_is_wanted_is_there_and_nothing_else(self) -> None:
        wanted = set(self.futures).union(*self.left) if not self.held else set(range(ITEMS))
        for block in self.blocks:
            living = bool(wanted & set(block.indices()))
            assert (self.map.values.block_of(block.first) is block) == living
            assert (block in self.ledger.freed) == (not living)
        assert self.ledger.bytes_held == 100 * (len(self.blocks) - len(self.ledger.freed))


TestReaders = Readers.TestCase
