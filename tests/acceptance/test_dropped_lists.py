"""Maps whose lists are gone: the next map that waits behind one says so, and how to cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import anabranch
from anabranch import flow
from anabranch.core.errors import ResultReleased
from tests.acceptance.gates import SOON, Gate, until
from tests.acceptance.test_interrupts import ITEMS, plus_one, through

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks

WORDS = "nobody holds the list any more"


@pytest.fixture
def gate(gates: Callable[[str], Gate]) -> Gate:
    return gates("all")


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest) -> None:
    """No map of the test before is under way any more: the session is that of the folder."""
    request.getfixturevalue(next(name for name in ("concurrent", "threads") if name in request.fixturenames))
    until(lambda: anabranch.running() == [], "the end of earlier maps")


def told(caplog: Any) -> list[str]:
    return [text for text in caplog.messages if WORDS in text]


def under_way(gate: Gate, marks: Marks, **options: Any) -> Any:
    futures = through.map(range(ITEMS), gate, marks, chunk=1, **options)
    until(lambda: len(marks.read()) > 1, "the first items")
    return futures


def test_the_next_map_tells_of_a_dropped_one_once(concurrent: str, gate: Gate, marks: Marks, caplog: Any) -> None:
    _ = under_way(gate, marks)
    del _
    assert told(caplog) == []
    second = plus_one.map(range(3))
    third = plus_one.map(range(3))
    (line,) = told(caplog)
    assert line.startswith("Map 'through' is under way")
    assert f"of {ITEMS} items are left, and 'plus_one' waits behind them" in line
    assert line.endswith("for fs in anabranch.running(held=False): fs.cancel()")
    for fs in anabranch.running(held=False):  # as the line says
        fs.cancel()
    gate.open()
    assert second.result(SOON) == third.result(SOON) == [1, 2, 3]
    assert len(marks.read()) < ITEMS
    assert anabranch.running() == []


def test_a_name_that_is_given_to_the_next_list_drops_the_one_before(
    threads: str, gate: Gate, marks: Marks, caplog: Any
) -> None:
    futures = under_way(gate, marks)
    futures = plus_one.map(range(3))
    until(lambda: bool(told(caplog)), "the line")
    assert len(told(caplog)) == 1
    gate.open()
    assert futures.result(SOON) == [1, 2, 3]


@pytest.mark.parametrize("holds", ["list", "item", "reader", "flow"])
def test_what_somebody_holds_is_not_told(threads: str, holds: str, gate: Gate, marks: Marks, caplog: Any) -> None:
    held: Any = None
    if holds == "list":
        held = under_way(gate, marks, keep="none")
    elif holds == "item":
        held = under_way(gate, marks)[3]
    elif holds == "reader":
        held = plus_one.map(under_way(gate, marks))
    else:

        @flow
        def main() -> str:
            under_way(gate, marks)
            plus_one.map(range(3))
            gate.open()
            return "done"

        assert main() == "done"
    assert anabranch.running(held=False) == []
    after = plus_one.map(range(3))
    gate.open()
    after.wait(SOON)
    assert told(caplog) == []
    del held


def test_the_lists_of_maps_under_way_look_and_cancel_but_hold_no_values(
    threads: str, gate: Gate, marks: Marks
) -> None:
    mine = under_way(gate, marks)
    (seen,) = anabranch.running(held=True)
    assert seen.progress[1] == ITEMS
    gate.open()
    seen.wait(SOON)
    assert anabranch.running() == []
    with pytest.raises(ResultReleased):
        seen.result()
    del seen
    assert mine.result(SOON) == list(range(ITEMS))


def test_the_newest_map_that_is_dropped_is_told_of_by_the_next_one(
    concurrent: str, gate: Gate, marks: Marks, caplog: Any
) -> None:
    first = under_way(gate, marks)
    second = through.with_options(name="second").map(range(ITEMS), gate, marks, chunk=1)
    del second  # nothing waits behind it yet
    del first
    until(lambda: told(caplog), "the line on the first one")
    third = plus_one.map(range(3))
    before, now = told(caplog)
    assert "'through' is under way" in before
    assert "'second' is under way" in now
    for fs in anabranch.running(held=False):
        fs.cancel()
    gate.open()
    assert third.result(SOON) == [1, 2, 3]
