"""Where values lie: blocks of first attempts, values of later ones over them, and places in the result store."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from anabranch.core.chunks import BlockHandle
from anabranch.core.reports import Held, Inline
from anabranch.core.value_index import NO_ITEM, RELEASED, ValueBlock, ValueIndex

if TYPE_CHECKING:
    from collections.abc import Sequence


def block(items: Sequence[int], number: int = 0) -> ValueBlock:
    return ValueBlock(BlockHandle(number, 0, 0), 0, items, Held(100), 100)


def inline(first: int, *values: object) -> ValueBlock:
    return ValueBlock(BlockHandle(first, 0, 0), 0, range(first, first + len(values)), Inline(list(values), 64), 64)


def test_items_of_a_block_are_found_and_those_between_blocks_are_not() -> None:
    index = ValueIndex()
    late, early = block(range(6, 9)), block(range(2, 4))
    index.add(late, overlay=False)
    index.add(early, overlay=False)
    assert (index.blocks, index.bases) == ([early, late], [2, 6])
    assert [index.block_of(i) for i in range(10)] == [None, None, early, early, None, None, late, late, late, None]
    assert not index.layered


def test_a_later_attempt_lies_over_the_block_of_the_first() -> None:
    index = ValueIndex()
    first, again = block(range(4)), block([1, 3], 1)
    index.add(first, overlay=False)
    index.add(again, overlay=True)
    assert [index.block_of(i) for i in range(4)] == [first, again, first, again]
    assert index.moved_blocks(0, 4) == [again]
    assert index.moved_blocks(2, 3) == []
    index.forget(again)
    assert [index.block_of(i) for i in range(4)] == [first, None, first, None], "the first has no value of these"
    index.forget(first)
    assert (index.blocks, index.bases, index.moved) == ([], [], {})


def test_stale_items_of_a_block_are_not_found_in_it() -> None:
    index = ValueIndex()
    index.add(block(range(4)), overlay=False)
    moved = block([0, 1, 2], 1)
    index.add(moved, overlay=True, stale={1})
    assert index.layered
    assert [index.block_of(i) is moved for i in range(4)] == [True, False, True, False]


def test_a_block_over_the_end_of_another_hides_it() -> None:
    index = ValueIndex()
    below, over = block(range(6)), block(range(4, 8), 1)
    index.add(over, overlay=False)
    index.add(below, overlay=False)
    assert index.layered
    assert [index.block_of(i) for i in range(8)] == [below] * 4 + [over] * 4
    assert (index.next_base(0), index.next_base(4)) == (4, NO_ITEM)
    assert index.located(2, 8)[2] == 4


def test_a_stretch_ends_where_the_next_value_is_elsewhere() -> None:
    index = ValueIndex()
    first = block(range(10))
    index.add(first, overlay=False)
    index.add(block([5], 1), overlay=True)
    assert index.located(0, 10) == (first, first.content, 5)
    assert index.located(5, 10)[2] == 6
    assert index.located(6, 8) == (first, first.content, 8)
    assert index.located(12, 20) == (None, None, 13)


def test_a_value_is_there_until_it_is_released_or_lost() -> None:
    index = ValueIndex()
    both = inline(0, "a", "b")
    index.add(both, overlay=False)
    both.content.values[1] = RELEASED  # type: ignore[union-attr]
    assert [index.has_value(i) for i in range(3)] == [True, False, False]
    both.content = None
    assert not index.has_value(0)


def test_a_stored_value_is_there_where_it_is_recorded() -> None:
    index = ValueIndex()
    index.stored.add("block", range(2), range(2))
    assert not index.has_value(0)
    index.resumable = True
    assert index.has_value(1)
    assert not index.has_value(2)


@pytest.mark.parametrize("seed", range(20))
def test_as_a_table_of_items(seed: int) -> None:
    """Blocks come and go in any order: the index answers as a plain dict would."""
    chance = random.Random(seed)
    index, known, blocks = ValueIndex(), dict[int, ValueBlock](), list[ValueBlock]()
    starts = [n * 5 for n in range(12)]
    chance.shuffle(starts)
    for number, start in enumerate(starts):
        new = block(range(start, start + chance.randint(1, 5)), number)
        index.add(new, overlay=False)
        blocks.append(new)
        known.update(dict.fromkeys(new.indices(), new))
    for number in range(100, 106):
        new = block(chance.sample(sorted(known), 3), number)
        index.add(new, overlay=True)
        blocks.append(new)
        known.update(dict.fromkeys(new.indices(), new))
    chance.shuffle(blocks)
    while blocks:
        assert {i: found for i in range(70) if (found := index.block_of(i)) is not None} == known
        lo = chance.randrange(60)
        overlapping = {b for b in blocks if any(lo <= i < lo + 10 for i in b.indices())}
        assert {*index.blocks_between(lo, lo + 10), *index.moved_blocks(lo, lo + 10)} <= overlapping
        gone = blocks.pop()
        index.forget(gone)
        known = {i: found for i, found in known.items() if found is not gone}
    assert (index.blocks, index.bases, index.moved) == ([], [], {})
