"""Detached maps and runs go on when a stop ends a wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch import as_completed, flow, task, wait
from anabranch.core.errors import OptionError
from tests.acceptance.gates import SOON, Gate, until
from tests.acceptance.test_interrupts import ITEMS, interrupted, plus_one, read_ended, read_stream, through

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch import FutureList
    from tests.acceptance.conftest import Marks


@pytest.fixture
def gate(gates: Callable[[str], Gate]) -> Gate:
    return gates("all")


WAITS: dict[str, Callable[[FutureList], Any]] = {
    "result": lambda futures: futures.result(),
    "wait": lambda futures: futures.wait(),
    "wait of several": lambda futures: wait([futures, futures[3]]),
    "as_completed": read_ended,
    "results": read_stream,
    "an item": lambda futures: futures[ITEMS - 1].result(),
}


@pytest.mark.parametrize("how", WAITS)
def test_a_detached_map_goes_on(concurrent: str, how: str, gate: Gate, marks: Marks, caplog: Any) -> None:
    futures = through.map(range(ITEMS), gate, marks, chunk=1, detach=True)
    with interrupted(lambda: len(marks.read()) > 1):
        WAITS[how](futures)
    words = "Stopped waiting: 'through' goes on, as it is detached; its `.cancel()` ends it."
    assert words in caplog.messages
    gate.open()
    until(futures.done, "the end of the map")
    assert futures.counts == {"Completed": ITEMS}


DETACHED = {
    "task": lambda *args: through.with_options(detach=True).submit(*args),
    "submit": lambda *args: through.submit(*args, detach=True),
}


@pytest.mark.parametrize("way", DETACHED)
def test_a_detached_run_goes_on_and_one_beside_it_does_not(threads: str, way: str, gate: Gate, marks: Marks) -> None:
    mine = DETACHED[way](1, gate, marks)
    other = through.submit(2, gate, marks, detach=False)
    with interrupted(lambda: len(marks.read()) == 2):
        wait([mine, other])
    gate.open()
    assert mine.result(SOON) == 1
    assert other.state.name == "Cancelled"


def test_what_a_cancelled_map_was_to_read_goes_on_where_it_is_detached(
    threads: str, gate: Gate, marks: Marks
) -> None:
    first = through.map(range(ITEMS), gate, marks, chunk=1, detach=True)
    second = plus_one.map(first)
    with interrupted(lambda: len(marks.read()) > 1):
        second.wait()
    gate.open()
    assert first.result(SOON) == list(range(ITEMS))
    assert second.counts.get("Cancelled", 0) > 0


def test_a_detached_map_is_cancelled_by_hand(threads: str, gate: Gate, marks: Marks) -> None:
    futures = through.map(range(ITEMS), gate, marks, chunk=1, detach=True)
    with interrupted(lambda: len(marks.read()) > 1):
        futures.wait()
    futures.cancel()
    gate.open()
    futures.wait(SOON)
    assert futures.counts["Cancelled"] > 0


def test_the_end_of_a_flow_run_ends_detached_ones_too(threads: str, gate: Gate, marks: Marks) -> None:
    found: list[FutureList] = []

    @flow(on_exit="cancel")
    def main() -> str:
        found.append(through.map(range(ITEMS), gate, marks, chunk=1, detach=True))
        next(iter(as_completed(found[0])))
        return "left"

    assert main() == "left"
    assert found[0].counts["Cancelled"] > 0


def test_detach_of_a_submit_is_the_tasks_own_argument_where_it_has_one(threads: str) -> None:
    @task
    def own(detach: bool) -> bool:
        return detach

    class Job:
        @task
        def twice(self, x: int) -> int:
            return 2 * x

    assert own.submit(detach=True).result(SOON) is True
    job = Job()
    first, second = job.twice.submit(2, detach=True), job.twice.submit(x=3, detach=True)
    assert [first.result(SOON), second.result(SOON)] == [4, 6]
    assert first._map is second._map  # one series
    assert job.twice.submit(4, detach=True, return_state=True).result() == 8
    with pytest.raises(OptionError, match="detach"):
        plus_one.submit(1, detach="yes")
