"""What becomes of the positions of a lost chunk, by its reason and by the items that may have caused the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.events import ChunkLost
from anabranch.engine.losses import Fate, verdicts

if TYPE_CHECKING:
    from anabranch.engine.lanes import Flight
    from tests.unit.engine.bench import Bench

REASONS = ["worker-lost", "out-of-memory", "unserializable", "engine-lost"]


def sent(bench: Bench, items: int = 4) -> Flight:
    bench.map(list(range(items)), chunk=items)
    [chunk] = bench.take()
    return bench.dispatcher.tables.sent[chunk.id]


def fates(one: Flight, reason: str, suspects: tuple[int, ...] | None = None, stage: int = 0) -> dict[int, Fate]:
    return dict(verdicts(one, ChunkLost(one.chunk.id, reason, suspects=suspects, stage=stage)))


@pytest.mark.parametrize("reason", ["stopped", "returned"])
@pytest.mark.parametrize("suspects", [None, (0,)])
def test_nothing_is_blamed_for_a_chunk_that_was_stopped(
    bench: Bench, reason: str, suspects: tuple[int, ...] | None
) -> None:
    assert set(fates(sent(bench), reason, suspects).values()) == {Fate.AGAIN}


@pytest.mark.parametrize("reason", REASONS)
def test_all_are_suspects_where_none_is_known(bench: Bench, reason: str) -> None:
    assert fates(sent(bench), reason) == dict.fromkeys(range(4), Fate.SUSPECT)


@pytest.mark.parametrize("reason", REASONS)
def test_the_only_one_that_was_left_is_the_culprit(bench: Bench, reason: str) -> None:
    one = sent(bench)
    one.reported = 3
    assert fates(one, reason) == {3: Fate.CULPRIT}


@pytest.mark.parametrize("reason", REASONS)
def test_a_known_culprit_clears_the_others(bench: Bench, reason: str) -> None:
    expected = {0: Fate.AGAIN, 1: Fate.CULPRIT, 2: Fate.AGAIN, 3: Fate.AGAIN}
    assert fates(sent(bench), reason, (1,)) == expected


def test_a_culprit_of_a_later_stage_takes_its_input_along(bench: Bench) -> None:
    found = fates(sent(bench), "worker-lost", (2,), stage=1)
    assert found == {0: Fate.AGAIN, 1: Fate.AGAIN, 2: Fate.READ_BY_CULPRIT, 3: Fate.AGAIN}


def test_positions_that_are_done_with_are_left_alone(bench: Bench) -> None:
    """The first was told, the second taken back, the third has ended, and the last comes back by itself."""
    one = sent(bench, 5)
    map = one.maps[0]
    one.reported = 1
    one.taken.add(1)
    map.codes[2] = states.CANCELLED
    map.queue.delayed[4] = (9.0, states.AWAITING_RETRY)
    assert fates(one, "worker-lost") == {3: Fate.SUSPECT}
    assert fates(one, "worker-lost", (1, 2, 4)) == {3: Fate.AGAIN}


def test_verdicts_change_nothing(bench: Bench) -> None:
    one = sent(bench)
    before = bytes(one.maps[0].codes), dict(one.maps[0].attempts), set(one.taken), one.reported
    fates(one, "worker-lost", (0,))
    assert (bytes(one.maps[0].codes), dict(one.maps[0].attempts), set(one.taken), one.reported) == before
