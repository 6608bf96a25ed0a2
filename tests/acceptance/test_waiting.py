"""`wait` and `as_completed`: when they return, what they say of each future, and what is left behind them."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from anabranch import Future, as_completed, flow, task, wait
from anabranch.core.errors import ResultReleased

SOON = 30.0  # seconds, at most, for what comes at once unless something is broken


@task
def same(x: Any) -> Any:
    return x


@task
def bad(x: Any) -> Any:
    raise ValueError(x)


@task
def when_there(path: str) -> str:
    """Waits for a file, because it may run in another process."""
    deadline = time.monotonic() + SOON
    while not os.path.exists(path):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return os.path.basename(path)


class Gates:
    """Tasks on threads that end when they are told to."""

    def __init__(self) -> None:
        self.events: dict[Any, threading.Event] = {}

    def submit(self, name: Any) -> Future:
        event = self.events[name] = threading.Event()

        def gated(name: Any) -> Any:
            assert event.wait(SOON)
            return name

        return task(gated).submit(name)

    def open(self, name: Any) -> None:
        self.events[name].set()


@pytest.fixture
def gates(threads: str) -> Any:
    made = Gates()
    yield made
    for event in made.events.values():
        event.set()


# -- wait ----------------------------------------------------------------------------------------


def test_wait_for_all(runner: str) -> None:
    futures = [same.submit(1), bad.submit(2), same.submit(3)]
    done, not_done = wait([futures[0], [futures[1:], same.map([4, 5])], futures[0]])
    assert (len(done), not_done) == (5, set())
    assert set(futures) < done
    assert all(future.done() for future in done)


def test_the_first_that_ended(concurrent: str, tmp_path: Any) -> None:
    path = str(tmp_path / "gate")
    late = when_there.submit(path)
    try:
        first = same.submit(1)
        done, not_done = wait([late, first], return_when="FIRST_COMPLETED", timeout=SOON)
        assert (done, not_done) == ({first}, {late})
    finally:
        open(path, "w").close()
    assert wait([late]).done == {late}


def test_the_first_exception(concurrent: str, tmp_path: Any) -> None:
    """Those that complete do not end the wait; a failure does, whoever else still runs."""
    path = str(tmp_path / "gate")
    late = when_there.submit(path)
    try:
        good = same.submit(1)
        good.wait()
        wrong = bad.submit(2, wait_for=[good])
        done, not_done = wait([late, good, wrong], return_when="FIRST_EXCEPTION", timeout=SOON)
        assert (done, not_done) == ({good, wrong}, {late})
    finally:
        open(path, "w").close()
    late.wait()


def test_no_exception_is_all_of_them(runner: str) -> None:
    futures = same.map(range(4))
    done, not_done = wait(futures, return_when="FIRST_EXCEPTION", timeout=SOON)
    assert (len(done), not_done) == (4, set())


def test_a_cancel_counts_as_an_exception(gates: Gates) -> None:
    late = gates.submit("late")
    behind = same.submit(late)
    assert behind.cancel()
    assert wait([late, behind], return_when="FIRST_EXCEPTION", timeout=SOON) == ({behind}, {late})


@pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_running_out_of_time_raises_nothing(gates: Gates, return_when: str) -> None:
    late, later = gates.submit("late"), gates.submit("later")
    assert wait([late, later], timeout=0.01, return_when=return_when) == (set(), {late, later})
    assert wait([late, later], timeout=0, return_when=return_when) == (set(), {late, later})


@pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_nothing_to_wait_for(threads: str, return_when: str) -> None:
    assert wait([], return_when=return_when) == (set(), set())
    assert list(as_completed([])) == []


def test_what_cannot_be_waited_for_is_named(threads: str) -> None:
    with pytest.raises(ValueError, match="return_when cannot be 'SOON'"):
        wait([], return_when="SOON")
    with pytest.raises(ValueError, match="timeout cannot be -1"):
        wait([], timeout=-1)
    with pytest.raises(TypeError, match="take futures, got int"):
        wait([1])  # type: ignore[list-item]


# -- as_completed --------------------------------------------------------------------------------


def test_futures_come_in_the_order_in_which_they_end(gates: Gates) -> None:
    names = ["a", "b", "c"]
    futures = {name: gates.submit(name) for name in names}
    seen: list[str] = []
    gates.open("c")
    for future in as_completed([futures[name] for name in names], timeout=SOON):
        seen.append(future.result())
        if len(seen) < 3:
            gates.open({"c": "a", "a": "b"}[seen[-1]])
    assert seen == ["c", "a", "b"]


def test_the_items_of_a_map_come_in_the_order_in_which_they_end(gates: Gates) -> None:
    events = [threading.Event() for _ in range(3)]

    def gated(n: int) -> int:
        assert events[n].wait(SOON)
        return n

    futures = task(gated).map(range(3), chunk=1)
    seen: list[int] = []
    events[2].set()
    for future in as_completed(futures, timeout=SOON):
        seen.append(future.result())
        if len(seen) < 3:
            events[{2: 0, 0: 1}[seen[-1]]].set()
    assert seen == [2, 0, 1]


def test_each_comes_once_whatever_became_of_it(runner: str) -> None:
    several = same.map(range(3))
    one, wrong = same.submit(3), bad.submit(4)
    found = list(as_completed([several, one, [wrong, one]], timeout=SOON))
    assert len(found) == len(set(found)) == 5
    assert sorted(f.result() for f in found if f != wrong) == [0, 1, 2, 3]
    assert isinstance(wrong.exception(), ValueError)


def test_as_completed_tells_how_many_were_late(gates: Gates) -> None:
    first, late = same.submit(1), gates.submit("late")
    first.wait()
    found = as_completed([late, first], timeout=0.05)
    assert next(found) == first
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        next(found)


def test_release_lets_each_value_go_behind_the_reader(runner: str) -> None:
    @flow
    def main() -> list[int]:
        seen, before = [], None
        for future in as_completed(same.map(range(20)), release=True, timeout=SOON):
            if before is not None:
                with pytest.raises(ResultReleased):
                    before.result()
            seen.append(future.result())
            before = future
        return sorted(seen)

    assert main() == list(range(20))


def test_without_release_values_stay(threads: str) -> None:
    futures = same.map(range(5))
    found = list(as_completed(futures))
    assert sorted(f.result() for f in found) == list(range(5)) == futures.result()


# -- callbacks -----------------------------------------------------------------------------------


def test_a_callback_is_called_once_with_its_future(runner: str) -> None:
    seen: list[tuple[Future, str]] = []
    called = threading.Semaphore(0)

    def note(future: Future) -> None:
        seen.append((future, future.state.name))
        called.release()

    early, wrong = same.submit(1), bad.submit(2)
    early.wait()
    for future in (early, wrong):
        future.add_done_callback(note)  # whether it has ended by now or not
    assert called.acquire(timeout=SOON)
    assert called.acquire(timeout=SOON)
    assert sorted(name for _, name in seen) == ["Completed", "Failed"]
    assert {future for future, _ in seen} == {early, wrong}


def test_a_callback_that_raises_is_logged_and_the_next_is_called(
    gates: Gates, capsys: pytest.CaptureFixture[str]
) -> None:
    called = threading.Event()
    late = gates.submit("late")
    late.add_done_callback(lambda future: 1 / 0)
    late.add_done_callback(lambda future: called.set())
    assert not called.is_set()
    gates.open("late")
    assert called.wait(SOON)
    assert "ZeroDivisionError" in capsys.readouterr().err
