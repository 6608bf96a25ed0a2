"""The columns of a chunk's next report: filled position by position, emptied by each report."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.core import states
from anabranch.core.chunks import Chunk
from anabranch.core.reports import Inline, Report
from anabranch.engine.attempt import AttemptResult
from anabranch.worker.reports import ReportBuffer


class Port:
    """Keeps the reports, and asks of each what `told` wants to know."""

    worker, in_process = "here", True

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.told: Any = lambda: None

    def report(self, report: Report) -> None:
        self.told()
        self.reports.append(report)

    def log(self, lines: list[Any], dropped: int) -> None:
        raise AssertionError("nothing was logged")


class Value:
    """Something that a weak reference can watch."""


def buffer(
    items: int, stages: int = 1, *, holds: list[bool] | None = None, inputs: bool = False
) -> tuple[ReportBuffer, Port]:
    plan: Any = SimpleNamespace(stage=SimpleNamespace(hashed=None), inputs="a store" if inputs else None)
    columns = [range(100 * stage, 100 * stage + items) for stage in range(stages)]
    chunk = Chunk(7, tuple(range(stages)), range(items), range(items), keep=(True,) * stages)
    port: Any = Port()
    return ReportBuffer(chunk, port, [plan] * stages, columns, holds or [True] * stages), port


def values(report: Report) -> list[list[Any]]:
    """What it brings of each stage."""
    return [block.values for block in report.blocks if isinstance(block, Inline)]


def done(value: Any = None, **more: Any) -> AttemptResult:
    return AttemptResult(states.COMPLETED, value, **more)


def test_items_that_just_complete_need_no_codes() -> None:
    found, port = buffer(2)
    found.settle_all(0, [done(1)], (10, 5))
    found.settle_all(1, [done(2)], (15, 6))
    found.send(2, (), final=False)
    [report] = port.reports
    assert (report.chunk, report.first, report.count, report.final, report.codes) == (7, 0, 2, False, None)
    assert report.outcomes == []
    assert (list(report.started or ()), list(report.durations or ())) == ([10, 15], [5, 6])
    assert values(report) == [[1, 2]]


def test_the_first_other_end_gives_all_before_it_a_code() -> None:
    found, port = buffer(3)
    found.settle(0, 0, done(1))
    found.settle(0, 1, AttemptResult(states.FAILED, error=ValueError("no")))
    found.settle(0, 2, done(3))
    found.send(3, (), final=True)
    [report] = port.reports
    assert report.codes == (bytes([states.COMPLETED, states.FAILED, states.COMPLETED]),)
    [outcome] = report.outcomes
    assert (outcome.position, outcome.code) == (1, states.FAILED)
    assert outcome.error is not None
    assert outcome.error.message == "no"
    assert values(report) == [[1, None, 3]]


@pytest.mark.parametrize("more", [{"message": "said"}, {"name": "Named"}])
def test_a_completed_item_that_says_something_is_told_of(more: dict[str, str]) -> None:
    found, port = buffer(1)
    found.settle(0, 0, done(1, **more))
    found.send(1, (), final=True)
    [outcome] = port.reports[0].outcomes
    assert {key: getattr(outcome, key) for key in more} == more


def test_stages_after_one_that_failed_are_pending() -> None:
    found, port = buffer(1, stages=3)
    found.settle_all(0, [done(b"x"), AttemptResult(states.FAILED)], (0, 1))
    found.send(1, (), final=True)
    assert [code for (code,) in port.reports[0].codes or ()] == [states.COMPLETED, states.FAILED, states.PENDING]


def test_each_stage_tells_the_size_of_its_own_values() -> None:
    found, port = buffer(1, stages=2)
    found.settle_all(0, [done(bytes(1000)), done(bytes(50_000))], (0, 1))
    total = found.nbytes
    found.send(1, (), final=True)
    first, last = (block.nbytes for block in port.reports[0].blocks if block is not None)
    assert 1000 <= first < 2000
    assert 50_000 <= last < 51_000
    assert first + last == total


def test_values_that_nobody_wants_are_not_held() -> None:
    found, _ = buffer(1, holds=[False])
    found.settle(0, 0, done(bytes(1000)))
    assert found.values == [[None]]
    assert found.nbytes == 0


def test_an_end_may_take_the_place_of_another() -> None:
    """A value that could not be stored: the attempt failed after all, and the stages after it have not begun."""
    found, port = buffer(4, stages=2)
    found.settle_all(0, [done(0), done(10)], (0, 1))
    found.settle_all(1, [done(1), AttemptResult(states.FAILED, message="by itself")], (1, 1))
    found.send(2, (), final=False)
    found.settle_all(2, [done(2), done(12)], (2, 1))
    found.settle_all(3, [done(3), AttemptResult(states.FAILED, message="by itself")], (3, 1))
    found.settle_anew(0, 3, AttemptResult(states.FAILED, message="no room"))
    found.send(4, (), final=True)
    report = port.reports[1]
    assert report.codes == (bytes([states.COMPLETED, states.FAILED]), bytes([states.COMPLETED, states.PENDING]))
    assert [(o.stage, o.position, o.code, o.message) for o in report.outcomes] == [
        (0, 3, states.FAILED, "no room"),
        (1, 3, states.PENDING, ""),
    ]
    assert values(report) == [[2, None], [12, None]]


def test_inputs_of_what_failed_for_good_are_kept_where_they_are_stored() -> None:
    ends = [states.FAILED, states.CANCELLED, states.AWAITING_RETRY, states.TIMED_OUT]
    for inputs in (True, False):
        found, _ = buffer(4, inputs=inputs)
        for position, code in enumerate(ends):
            found.keep_input(0, position, f"input {position}", AttemptResult(code))
        assert found.failing == ([(0, 0, "input 0"), (0, 3, "input 3")] if inputs else [])


@pytest.mark.parametrize("final", [False, True])
def test_once_it_is_told_nothing_here_keeps_a_value_alive(final: bool) -> None:
    """The driver may let go of a value as soon as it hears of it."""
    found, port = buffer(2)
    value = Value()
    alive = weakref.ref(value)
    found.settle(0, 0, done(value))
    del value

    held: list[list[Any]] = []
    port.told = lambda: held.extend(found.values)
    found.send(1, (), final=final)
    assert not any(held)
    port.reports.clear()
    assert alive() is None


def test_reports_go_on_where_the_last_one_ended() -> None:
    found, port = buffer(3)
    found.settle_all(0, [AttemptResult(states.FAILED)], (0, 1))
    found.send(1, (), final=False)
    found.settle_all(1, [done(1)], (1, 1))
    found.settle_all(2, [done(2)], (2, 1))
    found.send(3, ("block",), final=True)
    assert [(r.first, r.count, r.codes, r.stored) for r in port.reports] == [
        (0, 1, (bytes([states.FAILED]),), ()),
        (1, 2, None, ("block",)),
    ]


def test_when_an_item_began_is_when_the_one_before_it_ended() -> None:
    found, _ = buffer(3)
    assert found.item_began() == found.told_at
    found.settle_all(0, [done(1)], (1_000_000, 500_000))
    assert found.item_began() == found.base + 1.5
    found.send(1, (), final=False)
    assert found.item_began() == found.told_at >= found.base
