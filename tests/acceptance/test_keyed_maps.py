"""Maps with a key: the same call again gets the list that is there, a changed one begins anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import anabranch
from anabranch import flow, task, unmapped
from anabranch.core.errors import OptionError
from tests.acceptance.gates import SOON, Gate, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture
def gate(gates: Callable[[str], Gate]) -> Gate:
    return gates("all")


def made(offset: int = 1, **options: Any) -> Any:
    """A task as the cell that defines it makes it, anew each time."""

    @task(**options)
    def counted(x: int, gate: Gate, marks: Marks) -> int:
        marks.add(x)
        gate.pass_through()
        return x + offset

    return counted


def test_the_same_call_gets_the_list_under_way_and_the_list_that_ended(
    concurrent: str, gate: Gate, marks: Marks, caplog: Any
) -> None:
    first = made().map(range(20), gate, marks, chunk=1, run_key="days")
    until(lambda: len(marks.read()) > 1, "the first items")
    again = made().map(range(20), gate, marks, chunk=1, run_key="days")
    assert again is first
    assert "Map 'counted' of run_key 'days' goes on: 0 of 20 items have ended" in caplog.messages
    gate.open()
    assert again.result(SOON) == list(range(1, 21))
    assert made().map(range(20), gate, marks, chunk=1, run_key="days") is first
    assert sorted(map(int, marks.read())) == list(range(20))


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "inputs": lambda gate, marks: made().map(range(4), gate, marks, run_key="days"),
    "code": lambda gate, marks: made(2).map(range(3), gate, marks, run_key="days"),
    "options": lambda gate, marks: made(retries=1).map(range(3), gate, marks, run_key="days"),
    "options of the map": lambda gate, marks: made().map(range(3), gate, marks, run_key="days", keep="none"),
    "mapped or not": lambda gate, marks: made().map(range(3), unmapped(gate), marks, run_key="days"),
    "key": lambda gate, marks: made().map(range(3), gate, marks, run_key="nights"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_call_begins_anew(threads: str, what: str, gate: Gate, marks: Marks, caplog: Any) -> None:
    gate.open()
    first = made().map(range(3), gate, marks, run_key="days")
    first.wait(SOON)
    caplog.clear()
    second = CHANGES[what](gate, marks)
    second.wait(SOON)
    assert second is not first
    told = "Map 'counted' begins anew: code or inputs of run_key 'days' have changed" in caplog.messages
    assert told is (what != "key")
    assert CHANGES[what](gate, marks) is second


@pytest.mark.parametrize("how", ["release", "cancel"])
def test_a_list_that_was_let_go_of_begins_anew(threads: str, how: str, gate: Gate, marks: Marks) -> None:
    first = made().map(range(20), gate, marks, chunk=1, run_key="days")
    until(lambda: len(marks.read()) > 1, "the first items")
    getattr(first, how)()
    gate.open()
    first.wait(SOON)
    second = made().map(range(20), gate, marks, chunk=1, run_key="days")
    assert second is not first
    assert second.result(SOON) == list(range(1, 21))


def test_a_list_that_is_mapped_over_counts_by_its_run(threads: str, gate: Gate, marks: Marks) -> None:
    gate.open()

    def cells(key: str) -> Any:
        load = made().map(range(3), gate, marks, run_key=key)
        return made(10).map(load, gate, marks, run_key="second")

    first = cells("one")
    assert first.result(SOON) == [11, 12, 13]
    assert cells("one") is first
    assert cells("two") is not first


def test_values_are_held_for_the_next_time(threads: str, gate: Gate, marks: Marks) -> None:
    gate.open()
    made().map(range(3), gate, marks, run_key="days").wait(SOON)
    assert made().map(range(3), gate, marks, run_key="days").result(SOON) == [1, 2, 3]
    assert len(marks.read()) == 3


def test_a_key_is_refused_where_calls_cannot_be_compared(threads: str, gate: Gate, marks: Marks) -> None:
    with pytest.raises(OptionError, match="give lists in place of iterators, or leave the run_key out"):
        made().map((x for x in range(3)), gate, marks, run_key="days")

    @flow
    def main() -> None:
        made().map(range(3), gate, marks, run_key="days")

    with pytest.raises(OptionError, match=r"outside of flows only; a flow has one by @flow\(run_key=...\)"):
        main()
    assert anabranch.running() == []
