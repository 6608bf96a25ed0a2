"""A value lives until its last reader has it: tasks that consume it, and streams that give it away."""

from __future__ import annotations

import threading
import time

import pytest

from anabranch import ThreadRunner, as_completed, flow, task
from anabranch.core.errors import ResultReleased
from tests.integration.memory.watch import WAIT, Value, Watch, dies, until

# -- consumers -----------------------------------------------------------------------------------------


def test_values_die_with_their_consumer(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)
    gate = threading.Event()

    @task
    def read(value: Value) -> int:
        assert gate.wait(WAIT)
        return value.number

    @flow(runner=runner)
    def main() -> None:
        made = make.map(range(30))
        made.wait(WAIT)
        numbers = read.map(made)
        del made
        assert watch.alive() == set(range(30)), "an unfinished consumer keeps its input"
        gate.set()
        assert numbers.result(WAIT) == list(range(30))
        dies(watch)

    main()


def test_a_chain_keeps_nothing_of_its_middle(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @task
    def read(value: Value) -> int:
        return value.number

    @flow(runner=runner)
    def main() -> None:
        numbers = read.map(make.map(range(200)))
        assert numbers.result(WAIT) == list(range(200))
        dies(watch)

    main()


def test_a_single_consumer_lets_go(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @task
    def read(values: list[Value]) -> int:
        return sum(v.number for v in values)

    @flow(runner=runner)
    def main() -> None:
        total = read.submit([make.submit(n) for n in range(10)])
        assert total.result(WAIT) == 45
        dies(watch)
        whole = read.submit(make.map(range(20, 30)))
        assert whole.result(WAIT) == 245
        dies(watch)

    main()


def test_values_given_to_a_map_as_a_constant_die_with_it(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def read(number: int, value: Value) -> int:
        return number + value.number

    @flow(runner=runner)
    def main() -> None:
        futures = read.map(range(10), watch.make(1))
        assert futures.result(WAIT) == list(range(1, 11))

    main()
    dies(watch)


# -- streams -------------------------------------------------------------------------------------------


def test_results_gives_values_away_one_by_one(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(100))
        futures.wait(WAIT)
        stream = futures.results()
        for number in range(100):
            value = next(stream)
            assert value.number == number
            assert watch.alive() == set(range(number, 100))
            del value
        assert list(stream) == []
        dies(watch)
        with pytest.raises(ResultReleased, match="keep the future"):
            futures[5].result()

    main()


def test_who_only_wants_to_be_told_of_the_end_does_not_lift_the_window(runner: ThreadRunner, watch: Watch) -> None:
    """The progress line is one: a map under it ran ahead of its reader without bound."""
    same = task(lambda x: x)

    @flow(runner=runner)
    def main() -> int:
        futures = same.map((n for n in range(400)), window=8, chunk=1)
        map = futures._map
        map.scope.on_end(map, None, lambda: None)
        ahead = [map.done - read for read, _ in enumerate(futures.results(), 1)]
        return max(ahead)

    assert main() <= 16


def test_as_completed_can_give_values_away(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(60))
        futures.wait(WAIT)
        left = 60
        for future in as_completed(futures, release=True):
            assert future.result().number >= 0
            del future
            left -= 1
            assert len(watch.alive()) <= left + 1
        assert left == 0
        dies(watch)

    main()


def test_a_stream_holds_its_producer_back(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        most = 0
        for number, value in enumerate(make.map(range(2000), window=50, chunk=5).results()):
            assert value.number == number
            most = max(most, len(watch.alive()))
        assert most <= 2 * 50 + 10, "the values in the reader's batch, and a window ahead of them"

    main()


def test_no_more_than_a_window_is_ahead_of_the_reader(runner: ThreadRunner, watch: Watch) -> None:
    gate = threading.Event()

    @task
    def make(number: int) -> Value:
        assert number == 0 or gate.wait(WAIT)
        return watch.make(number)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(2000), window=50, chunk=1)
        stream = futures.results()
        next(stream)  # alone: all others wait at the gate
        gate.set()
        until(lambda: futures.progress[0] >= 50)
        next(stream)
        end, pause = time.monotonic() + 0.5, threading.Event()
        while watch.made() < 90 and time.monotonic() < end:
            pause.wait(0.002)
        alive = len(watch.alive())
        stream.close()
        assert alive <= 50 + 10

    main()


def test_keep_none_keeps_none(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(100), keep="none")
        states = futures.wait(WAIT)
        assert all(s.is_completed() for s in states)
        dies(watch)
        with pytest.raises(ResultReleased, match=r'keep="none"'):
            futures[3].result()

    main()
