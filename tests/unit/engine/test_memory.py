"""Which blocks leave the memory of this machine, by counting: nothing is moved here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from anabranch.core.chunks import BlockHandle
from anabranch.core.reports import Inline
from anabranch.core.value_index import ValueBlock
from anabranch.engine.memory import SMALLEST, Memory
from tests.unit.engine.bench import Bench

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun

LARGE = SMALLEST


def block(first: int, nbytes: int = LARGE) -> ValueBlock:
    return ValueBlock(BlockHandle(first, 0, 0), 0, range(first, first + 1), Inline([None], nbytes), nbytes)


@pytest.fixture
def unread() -> MapRun:
    """A map that nobody reads just now."""
    return Bench().map(range(8))


@pytest.fixture
def read() -> MapRun:
    """A map of which a consumer reads item after item."""
    map = Bench().map(range(8))
    map.consumers.unfinished = bytearray(8)
    return map


def filled(memory: Memory, map: MapRun, count: int = 4) -> list[ValueBlock]:
    blocks = [block(n) for n in range(count)]
    for one in blocks:
        memory.add(map, one)
    return blocks


def test_within_the_budget_everything_stays(unread: MapRun) -> None:
    memory = Memory(budget=4 * LARGE)
    filled(memory, unread)
    assert (memory.taken, memory.over, memory.choose()) == (4 * LARGE, False, [])


def test_by_default_there_is_no_budget(unread: MapRun) -> None:
    memory = Memory()
    filled(memory, unread)
    assert memory.budget == math.inf
    assert memory.choose() == []


def test_the_newest_leave_first_and_no_more_than_must(unread: MapRun) -> None:
    memory = Memory(budget=2 * LARGE)
    blocks = filled(memory, unread)
    assert memory.choose() == [(unread, blocks[3]), (unread, blocks[2])]
    assert (memory.leaving, memory.over) == (2 * LARGE, False)
    assert memory.choose() == [], "they are on their way"


def test_maps_that_nobody_reads_leave_first(unread: MapRun, read: MapRun) -> None:
    memory = Memory(budget=4 * LARGE)
    filled(memory, read)
    idle = filled(memory, unread, 3)
    assert memory.choose() == [(unread, one) for one in reversed(idle)]


def test_small_blocks_count_and_never_leave(unread: MapRun) -> None:
    memory = Memory(budget=0)
    memory.add(unread, block(0, SMALLEST - 1))
    assert memory.over
    assert memory.choose() == []


def test_what_has_left_takes_no_memory(unread: MapRun) -> None:
    memory = Memory(budget=0)
    (one,) = filled(memory, unread, 1)
    memory.choose()
    assert memory.left(one)
    assert (memory.taken, memory.leaving, one.in_memory) == (0, 0, False)
    memory.remove(unread, one)  # its last reader goes, and it lies on disk
    assert memory.taken == 0


def test_what_was_let_go_while_it_was_written_is_not_said_to_have_left(unread: MapRun) -> None:
    memory = Memory(budget=0)
    (one,) = filled(memory, unread, 1)
    memory.choose()
    memory.remove(unread, one)
    assert not memory.left(one)
    assert (memory.taken, memory.leaving) == (0, 0)


def test_what_cannot_leave_counts_and_is_not_asked_again(unread: MapRun) -> None:
    memory = Memory(budget=0)
    (one,) = filled(memory, unread, 1)
    memory.choose()
    memory.stays(one)
    assert (memory.taken, memory.leaving, memory.over) == (LARGE, 0, True)
    assert memory.choose() == []
    memory.remove(unread, one)
    assert memory.taken == 0


def test_what_is_removed_is_not_chosen(unread: MapRun) -> None:
    memory = Memory(budget=0)
    first, second = filled(memory, unread, 2)
    memory.remove(unread, second)
    assert memory.choose() == [(unread, first)]


def test_the_disk_holds_the_work_up_only_far_over_the_budget(unread: MapRun) -> None:
    memory = Memory(budget=0)
    memory.slack = 2 * LARGE
    filled(memory, unread, 2)
    memory.choose()
    assert not memory.behind
    memory.add(unread, block(9, 1))
    assert memory.behind
