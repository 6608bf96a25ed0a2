"""Blocks that leave memory: what every runner promises that says it can, and that the others do not pretend."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import ResultReleased, SerializationError
from anabranch.core.reports import Held
from anabranch.core.search import Hole

if TYPE_CHECKING:
    from tests.contract.conftest import Bench, Outcomes

BIG = 300_000  # bytes that no report brings home by itself


def big(x: int) -> bytes:
    return bytes([x % 256]) * BIG


def head(data: bytes) -> tuple[int, int]:
    return data[0], len(data)


def lock(x: int) -> Any:
    return threading.Lock()


@pytest.fixture
def made(bench: Bench) -> Outcomes:
    """Four values, all of them spilled where the runner can; else the test is about its saying so."""
    done = bench.run(bench.task(big), range(4), close_bytes=100 << 20)
    if bench.capabilities.spills:
        for handle, block, _ in done.blocks[0]:
            assert isinstance(bench.runner.spill(handle, block), Held)  # type: ignore[attr-defined]
    else:
        assert not hasattr(bench.runner, "spill")
    return done


def places(bench: Bench, done: Outcomes) -> list[tuple[BlockHandle, int]]:
    """Where the values lie, one after another."""
    return [(handle, slot) for handle, _, count in done.blocks[0] for slot in range(count)]


def test_what_was_spilled_reads_the_same(bench: Bench, made: Outcomes) -> None:
    if bench.capabilities.spills:
        found = [bench.runner.fetch(handle, [slot])[0] for handle, slot in places(bench, made)]
        assert found == [big(n) for n in range(4)]


def test_spilling_twice_is_no_mistake(bench: Bench, made: Outcomes) -> None:
    if bench.capabilities.spills and not bench.capabilities.in_process:
        for handle, block, _ in made.blocks[0]:
            bench.runner.spill(handle, block)  # type: ignore[attr-defined]
        assert bench.values(made) == [big(n) for n in range(4)]


def test_later_chunks_read_what_was_spilled(bench: Bench, made: Outcomes) -> None:
    if bench.capabilities.spills:
        inputs = tuple(places(bench, made))
        wants = {position: (position,) for position in range(4)}
        done = bench.run(bench.task(head), [Hole(0)] * 4, inputs=inputs, wants=wants)
        assert bench.values(done) == [(n, BIG) for n in range(4)]


def test_what_was_spilled_is_released(bench: Bench, made: Outcomes) -> None:
    if bench.capabilities.spills:
        [(handle, _), *_] = places(bench, made)
        bench.runner.release([handle, handle])
        with pytest.raises(ResultReleased, match="keep a future"):
            bench.runner.fetch(handle, [0])


def test_some_values_move_to_a_block_of_their_own(bench: Bench, made: Outcomes) -> None:
    if bench.capabilities.spills:
        [(handle, slot), *_] = places(bench, made)[1:]
        to = BlockHandle(-1, 0, 0)
        moved = bench.runner.move(handle, [slot], to)  # type: ignore[attr-defined]
        assert BIG <= moved.nbytes < 2 * BIG
        bench.runner.release([handle])
        assert bench.runner.fetch(to, [0]) == [big(1)]
        bench.runner.release([to])
        with pytest.raises(ResultReleased):
            bench.runner.fetch(to, [0])


def test_what_is_not_there_cannot_move(bench: Bench) -> None:
    if bench.capabilities.spills:
        with pytest.raises(ResultReleased):
            bench.runner.move(BlockHandle(99, 0, 0), [0], BlockHandle(-1, 0, 0))  # type: ignore[attr-defined]


def test_a_value_that_cannot_be_pickled_stays(bench: Bench) -> None:
    if bench.capabilities.in_process:
        done = bench.run(bench.task(lock), [0])
        [(handle, block, _)] = done.blocks[0]
        with pytest.raises(SerializationError, match="lock"):
            bench.runner.spill(handle, block)  # type: ignore[attr-defined]
        assert bench.values(done)
