"""Values lost with their worker, and the recipes they are made again from."""

from __future__ import annotations

from typing import Any

from anabranch.core import states
from anabranch.core.chunks import BlockHandle
from tests.unit.engine.bench import Bench, items_of


def lost(bench: Bench, chunk: Any, stage: int = 0) -> None:
    bench.dispatcher.remakes.values_lost(bench.lane, [BlockHandle(chunk.id, stage, 0)])


def test_lost_values_are_made_again_for_their_readers() -> None:
    bench = Bench(held=True)
    map = bench.map(range(4), chunk=2)
    chunks = bench.run()
    lost(bench, chunks[0])
    assert not map.finished
    assert items_of(bench.take()) == [0, 1]
    bench.run()
    assert map.finished
    assert map.attempts == {0: 2, 1: 2}
    assert all(map.values.block_of(i) is not None for i in range(4))


def test_what_a_lost_value_was_made_of_is_made_again_first() -> None:
    bench = Bench(held=True)
    first = bench.map(range(4), chunk=4)
    bench.run()
    second = bench.map(after=first, chunk=4)
    [chunk] = bench.run()
    bench.dispatcher.readers.list_gone(first)  # its values go with their last reader
    bench.take()
    assert not first.values.has_value(0)
    lost(bench, chunk)
    [sent] = bench.take()
    assert bench.dispatcher.tables.sent[sent.id].maps[0] is first
    bench.report(sent)
    [sent] = bench.take()
    assert bench.dispatcher.tables.sent[sent.id].maps[0] is second
    assert sent.wants == {i: (i,) for i in range(4)}  # no argument is missing
    bench.report(sent)
    bench.take()
    assert first.finished
    assert second.finished
    assert first.attempts == second.attempts == dict.fromkeys(range(4), 2)
    assert not first.values.has_value(0)  # and let go again
    assert second.values.has_value(0)


def test_a_chain_that_travelled_as_one_is_made_again() -> None:
    bench = Bench(held=True)
    first = bench.map(range(4), kept=False, chunk=4)
    second = bench.map(after=first)
    [chunk] = bench.run()
    assert len(chunk.stages) == 2
    lost(bench, chunk, stage=1)
    bench.run()
    assert second.finished
    assert second.codes == bytes([states.COMPLETED]) * 4
    assert all(second.values.has_value(i) for i in range(4))


def test_elements_of_an_iterator_outlive_their_items_until_nobody_asks_for_what_was_made_of_them() -> None:
    bench = Bench(held=True)
    first = bench.map(iter(range(4)), kept=False, chunk=4)
    second = bench.map(after=first)
    bench.dispatcher.intake.pulled(first, list(range(4)), True, None)
    [chunk] = bench.run()
    assert first.inputs.args == {i: i for i in range(4)}
    lost(bench, chunk, stage=len(chunk.stages) - 1)
    bench.run()
    assert all(second.values.has_value(i) for i in range(4))
    bench.dispatcher.readers.stream_opened(second)
    bench.dispatcher.readers.give_away(second, 0, 3)
    assert first.inputs.args == {3: 3}
    bench.dispatcher.readers.list_gone(second)
    assert first.inputs.args == {}


def test_a_stream_of_values_leaves_no_elements_behind() -> None:
    bench = Bench(held=True)
    map = bench.map(iter(range(4)), chunk=2)
    bench.dispatcher.intake.pulled(map, list(range(4)), True, None)
    bench.run()
    assert sorted(map.inputs.args) == [0, 1, 2, 3]
    bench.dispatcher.readers.stream_opened(map)
    bench.dispatcher.readers.give_away(map, 0, 2)
    assert sorted(map.inputs.args) == [2, 3]
    bench.dispatcher.readers.taken(map, 2)
    assert sorted(map.inputs.args) == [3]
