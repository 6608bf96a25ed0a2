"""A value lives as long as somebody can read it, and no longer: with the garbage collector off."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, ThreadRunner, as_completed, flow, task
from anabranch import session as sessions
from anabranch.core.errors import ResultReleased
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT = 20.0
MIB = 1 << 20


class Value:
    """Something that can be weakly referred to."""

    def __init__(self, number: int = 0) -> None:
        self.number = number


class Watch:
    """Which of the values made so far are alive."""

    def __init__(self) -> None:
        self._refs: dict[int, weakref.ref[Value]] = {}

    def make(self, number: int = 0) -> Value:
        value = Value(number)
        self._refs[number] = weakref.ref(value)
        return value

    def alive(self) -> set[int]:
        return {n for n, ref in list(self._refs.items()) if ref() is not None}

    def made(self) -> int:
        return len(self._refs)


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    mine = Session(Settings(home=tmp_path, progress=False, log_level="CRITICAL"), records=MemoryRecords())
    before = sessions.use(mine)
    gc.collect()
    gc.disable()
    yield mine
    gc.enable()
    mine.close()
    sessions.use(before)


@pytest.fixture
def runner() -> ThreadRunner:
    return ThreadRunner(max_workers=2)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def until(check: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for something that no event tells of."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        pause.wait(0.002)


def dies(watch: Watch, left: set[int] | None = None) -> None:
    """The values die but for `left`; soon, because a worker thread may still be on its way out of the task."""
    wanted = left or set()
    end = time.monotonic() + 1.0
    pause = threading.Event()
    while watch.alive() != wanted and time.monotonic() < end:
        pause.wait(0.002)
    assert watch.alive() == wanted


# -- handles -------------------------------------------------------------------------------------------


def test_a_value_dies_with_its_future(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def make() -> Value:
        return watch.make()

    @flow(runner=runner)
    def main() -> None:
        future = make.submit()
        future.wait(WAIT)
        assert watch.alive() == {0}
        assert future.result().number == 0
        assert watch.alive() == {0}
        del future
        dies(watch)

    main()


def test_a_result_in_hand_outlives_the_future(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def make() -> Value:
        return watch.make()

    @flow(runner=runner)
    def main() -> None:
        value = make.submit().result(WAIT)
        assert value.number == 0
        assert watch.alive() == {0}
        del value
        dies(watch)

    main()


def test_values_die_with_their_list(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(100))
        futures.wait(WAIT)
        assert watch.alive() == set(range(100))
        del futures
        dies(watch)

    main()


def test_an_item_future_keeps_its_value_beyond_the_list(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        futures = make.map(range(50))
        futures.wait(WAIT)
        one = futures[17]
        del futures
        dies(watch, {17})
        assert one.result().number == 17
        del one
        dies(watch)

    main()


def test_a_list_that_nobody_holds_keeps_nothing(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        make.map(range(100))
        until(lambda: watch.made() == 100)
        dies(watch)

    main()


def test_a_with_block_ends_the_values(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        with make.map(range(20)) as futures:
            futures.wait(WAIT)
            assert len(watch.alive()) == 20
        dies(watch)
        with pytest.raises(ResultReleased):
            futures.result()

    main()


def test_a_state_in_hand_is_a_handle(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        state = make.submit(3).wait(WAIT)
        assert state.result().number == 3
        del state
        dies(watch)

    main()


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


# -- what is said and what is not kept -----------------------------------------------------------------


def test_a_released_value_says_how_to_keep_it(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        future = make.submit(1)
        future.wait(WAIT)
        future.release()
        future.release()
        dies(watch)
        with pytest.raises(ResultReleased, match=r"keep the future .* persist_result=True"):
            future.result()

    main()


def test_exceptions_keep_no_frames(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def fail(number: int) -> None:
        local = watch.make(number)
        try:
            raise KeyError(local.number)
        except KeyError as inner:
            raise ValueError("told") from inner

    @flow(runner=runner)
    def main() -> None:
        futures = fail.map(range(20))
        futures.wait(WAIT)
        dies(watch)
        error = futures[3].exception()
        assert isinstance(error, ValueError)
        assert isinstance(error.__cause__, KeyError)
        assert "local = watch.make" not in str(error)
        with pytest.raises(ValueError, match="told"):
            futures[4].result()
        assert len(futures.failed()) == 20

    with pytest.raises(ValueError, match="told"):
        main()
    dies(watch)


def test_an_error_raised_by_result_holds_no_value(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def fail(value: Value) -> None:
        raise ValueError("told")

    @flow(runner=runner)
    def main() -> str:
        try:
            fail.submit(task(watch.make).submit(1)).result(WAIT)
        except ValueError as error:
            return str(error)
        return ""

    assert main() == "told"
    dies(watch)


def test_arguments_die_with_their_item(runner: ThreadRunner, watch: Watch) -> None:
    @task
    def read(value: Value) -> int:
        return value.number

    @flow(runner=runner)
    def main() -> None:
        futures = [read.submit(watch.make(n)) for n in range(10)]
        assert [f.result(WAIT) for f in futures] == list(range(10))
        dies(watch)

    main()


def test_a_flow_run_leaves_nothing(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @task
    def read(value: Value) -> int:
        return value.number

    @flow(runner=runner)
    def main() -> int:
        made = make.map(range(50))
        return sum(read.map(made).result(WAIT))

    assert main() == 1225
    dies(watch)


# -- the process runner's shared memory ----------------------------------------------------------------


def test_shared_memory_stays_flat_as_lists_are_dropped() -> None:
    runner = ProcessRunner(max_workers=2)

    @task
    def make(number: int) -> bytes:
        return bytes([number]) * MIB

    @task
    def last(data: bytes) -> int:
        return data[-1]

    def used() -> int:
        sizes = []
        for path in runner._folder.iterdir():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        return sum(sizes)

    @flow(runner=runner)
    def main() -> None:
        peaks = []
        for _ in range(3):
            made = make.map(range(200))
            made.wait(WAIT)
            assert used() >= 200 * MIB
            assert made.bytes_held >= 200 * MIB
            read = last.map(made)
            del made
            assert read.result(WAIT) == list(range(200))
            del read
            until(lambda: used() < 2 * MIB)
            numbers = last.map(make.map(range(200)))  # the first list is nobody's: each value goes when it was read
            while not numbers.done():
                peaks.append(used())
                numbers.wait(0.02)
            assert numbers.result(WAIT) == list(range(200))
            until(lambda: used() < 2 * MIB)
        assert max(peaks) < 48 * MIB

    main()
