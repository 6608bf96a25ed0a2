"""`wait` and `as_completed`: when they return, what they say of each future, and what is left behind them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import Future, as_completed, flow, task, unmapped, wait
from anabranch import session as sessions
from anabranch.core.errors import ResultReleased
from tests.acceptance.gates import SOON, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks
    from tests.acceptance.gates import Gate


@task
def same(x: Any) -> Any:
    return x


@task
def bad(x: Any) -> Any:
    raise ValueError(x)


@task
def gated(gate: Gate, x: Any) -> Any:
    """Ends when the test lets it."""
    gate.pass_through()
    return x


# -- wait ----------------------------------------------------------------------------------------


def test_wait_for_all(runner: str) -> None:
    futures = [same.submit(1), bad.submit(2), same.submit(3)]
    done, not_done = wait([futures[0], [futures[1:], same.map([4, 5])], futures[0]])
    assert (len(done), not_done) == (5, set())
    assert set(futures) < done
    assert all(future.done() for future in done)


def test_the_first_that_ended(beside: str, gates: Callable[[str], Gate]) -> None:
    late, first = gated.submit(gates("late"), "late"), same.submit(1)
    done, not_done = wait([late, first], return_when="FIRST_COMPLETED", timeout=SOON)
    assert (done, not_done) == ({first}, {late})
    gates("late").open()
    assert wait([late]).done == {late}


def test_the_first_exception(beside: str, gates: Callable[[str], Gate]) -> None:
    """Those that complete do not end the wait; a failure does, whoever else still runs."""
    late = gated.submit(gates("late"), "late")
    good = same.submit(1)
    good.wait()
    wrong = bad.submit(2, wait_for=[good])
    done, not_done = wait([late, good, wrong], return_when="FIRST_EXCEPTION", timeout=SOON)
    assert (done, not_done) == ({good, wrong}, {late})
    gates("late").open()
    late.wait()


def test_no_exception_is_all_of_them(runner: str) -> None:
    futures = same.map(range(4))
    done, not_done = wait(futures, return_when="FIRST_EXCEPTION", timeout=SOON)
    assert (len(done), not_done) == (4, set())


def test_a_cancel_counts_as_an_exception(beside: str, gates: Callable[[str], Gate]) -> None:
    late = gated.submit(gates("late"), "late")
    behind = same.submit(late)
    assert behind.cancel()
    assert wait([late, behind], return_when="FIRST_EXCEPTION", timeout=SOON) == ({behind}, {late})


@pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_running_out_of_time_raises_nothing(beside: str, gates: Callable[[str], Gate], return_when: str) -> None:
    late, later = (gated.submit(gates(name), name) for name in ("late", "later"))
    assert wait([late, later], timeout=0.01, return_when=return_when) == (set(), {late, later})
    assert wait([late, later], timeout=0, return_when=return_when) == (set(), {late, later})


@pytest.mark.parametrize("return_when", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_nothing_to_wait_for(threads: str, return_when: str) -> None:
    assert wait([], return_when=return_when) == (set(), set())
    assert list(as_completed([])) == []


def test_what_cannot_be_waited_for_is_named(threads: str) -> None:
    with pytest.raises(ValueError, match=r"return_when must be .*, got 'SOON'"):
        wait([], return_when="SOON")
    with pytest.raises(ValueError, match="timeout must be 0 or more, got -1"):
        wait([], timeout=-1)
    with pytest.raises(TypeError, match="take futures, got int"):
        wait([1])  # type: ignore[list-item]


# -- as_completed --------------------------------------------------------------------------------


@task
def gated_told(marks: Marks, gate: Gate, name: str) -> str:
    """As `gated`, and says that it has begun."""
    marks.add(name)
    gate.pass_through()
    return name


def test_futures_come_in_the_order_in_which_they_end(beside: str, gates: Callable[[str], Gate], marks: Marks) -> None:
    futures = [gated_told.submit(marks, gates(name), name) for name in "abc"]
    last_first(futures, gates, marks)


def test_the_items_of_a_map_come_in_the_order_in_which_they_end(
    beside: str, gates: Callable[[str], Gate], marks: Marks
) -> None:
    futures = gated_told.map(unmapped(marks), [gates(name) for name in "abc"], list("abc"), chunk=1)
    last_first(futures, gates, marks)


def last_first(futures: Any, gates: Callable[[str], Gate], marks: Marks) -> None:
    """Of those that have begun (two at least, whichever they are) the last is let through; and it comes next."""
    opened: list[str] = []

    def open_next() -> None:
        left = 3 - len(opened)
        until(lambda: len(marks.read()) - len(opened) >= min(2, left), "those that can run at once")
        opened.append(max(set(marks.read()) - set(opened)))
        gates(opened[-1]).open()

    seen: list[str] = []
    open_next()
    for future in as_completed(futures, timeout=SOON):
        seen.append(future.result())
        if len(seen) < 3:
            open_next()
    assert seen == opened
    assert seen[0] != "a"


def test_each_comes_once_whatever_became_of_it(runner: str) -> None:
    several = same.map(range(3))
    one, wrong = same.submit(3), bad.submit(4)
    found = list(as_completed([several, one, [wrong, one]], timeout=SOON))
    assert len(found) == len(set(found)) == 5
    assert sorted(f.result() for f in found if f != wrong) == [0, 1, 2, 3]
    assert isinstance(wrong.exception(), ValueError)


def test_as_completed_tells_how_many_were_late(beside: str, gates: Callable[[str], Gate]) -> None:
    first, late = same.submit(1), gated.submit(gates("late"), "late")
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


def test_without_release_values_stay(runner: str) -> None:
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
    beside: str, gates: Callable[[str], Gate], capsys: pytest.CaptureFixture[str]
) -> None:
    called = threading.Event()
    late = gated.submit(gates("late"), "late")
    late.add_done_callback(lambda future: 1 / 0)
    late.add_done_callback(lambda future: called.set())
    assert not called.is_set()
    gates("late").open()
    assert called.wait(SOON)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_run_that_ends_while_its_waiter_is_written_down(
    beside: str, gates: Callable[[str], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits leaves a note and lets others take it along: after its run's end nobody may come for it."""
    late = gated.submit(gates("late"), "late")
    pump = sessions.current().pump
    leave = pump.enqueue

    def slowly(move: Callable[..., Any], *args: Any) -> None:
        assert move == pump.dispatcher.readers.wait_for
        gates("late").open()
        until(late.done, "the run to end")
        leave(move, *args)

    monkeypatch.setattr(pump, "enqueue", slowly)
    assert late.result(timeout=SOON) == "late"


def test_a_map_goes_on_whose_reader_is_cancelled(beside: str, gates: Callable[[str], Gate]) -> None:
    """Wherever it is: among what a worker has, its items may travel with those that read them."""
    doors = [gates(str(n)) for n in range(6)]

    @task
    def hold(n: int, door: Gate, begun: Gate) -> int:
        begun.open()
        door.pass_through()
        return n

    @task
    def same(x: int) -> int:
        return x

    begun = [gates(f"begun {n}") for n in range(6)]
    held = hold.map(range(6), doors, begun, chunk=1)
    assert begun[0].wait()
    first = same.map(range(40), chunk=3)
    second = same.map(first)
    for door in doors[:2]:  # room for chunks that are made up now
        door.open()
    wait([held[0], held[1]])
    second.cancel()
    for door in doors[2:]:
        door.open()
    assert first.result(60) == list(range(40))
    assert second.wait(60) is not None
    assert second.counts["Cancelled"] > 0
