"""The known end of an allocation: what cannot end before it is not begun, and the program drains."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.instructions import NearEnd, Shorten
from anabranch.core.previous_items import PreviousItems
from anabranch.core.reasons import details_of, make
from anabranch.core.reports import Report
from anabranch.core.runs import ItemRow
from anabranch.engine import standing
from anabranch.engine.walltime import INTERRUPTED, MESSAGE, SETTLE, Span, longest, outlasted, room, span_of
from tests.unit.engine.bench import Bench

if TYPE_CHECKING:
    from anabranch.core.chunks import Chunk
    from anabranch.core.maps import MapRun


class Allocation:
    """A bench whose end is known; time passes when the test says so."""

    def __init__(self, seconds: float, slots: int = 2, *, held: bool = False) -> None:
        self.bench = Bench(slots, held=held)
        self.tables = self.bench.dispatcher.tables
        self.bench.dispatcher.know_end(Span(0.0, seconds))

    def at(self, now: float) -> list[Chunk]:
        self.bench.dispatcher.tick(now)
        return self.bench.take()

    def ended(self, chunk: Chunk, *seconds: float, final: bool = True) -> list[Chunk]:
        """The first positions of a chunk took so long each."""
        times = array("q", [round(1e6 * one) for one in seconds])
        if final:
            self.bench.queue.remove(chunk)
        block = self.bench.block(list(range(len(times)))) if len(times) else None
        self.bench.dispatcher.reports.take_in(
            Report(chunk.id, 0, len(times), final, 1.0, times, times, blocks=(block,), worker="w")
        )
        return self.bench.take()

    @property
    def near(self) -> list[str]:
        return [one.why for one in self.bench.others if isinstance(one, NearEnd)]

    @property
    def shortened(self) -> list[int]:
        return [one.chunk for one in self.bench.others if isinstance(one, Shorten)]


# -- the policy ----------------------------------------------------------------------------------


def test_the_margin_is_left_but_no_more_than_a_tenth() -> None:
    assert span_of(100.0, 3600.0, 30.0) == Span(100.0, 3670.0)
    assert span_of(100.0, 60.0, 30.0) == Span(100.0, 154.0)
    assert span_of(100.0, -5.0, 30.0).end <= 100.0, "an end that is over leaves nothing"


@pytest.mark.parametrize(
    ("seen", "most"),
    [([], None), ([3.0], 3.0), ([1.0, 5.0, 2.0], 5.0), ([*[1.0] * 990, *[900.0] * 10], 1.0), (range(100), 95)],
)
def test_an_item_takes_as_long_as_nearly_all_others(seen: list[float], most: float | None) -> None:
    assert longest(seen) == most


@pytest.mark.parametrize(
    ("left", "mean", "most", "count"), [(10, 1, 2, 9), (2.1, 1, 2, 1), (2, 1, 2, 0), (0, 0, 0, 0), (5, 0, 0, 5e9 + 1)]
)
def test_a_chunk_is_as_long_as_what_is_left(left: float, mean: float, most: float, count: float) -> None:
    assert room(left, mean, most) == count


def interrupted(attempt: int, ran: float, walltime: float) -> ItemRow:
    why = make(INTERRUPTED, ran=ran, walltime=walltime)
    return ItemRow("m", 7, attempt, states.CANCELLED, message=MESSAGE, reason=why.word, details=why.details)


def test_an_item_that_had_a_whole_walltime_twice_is_refused() -> None:
    nearly = [interrupted(1, 3300, 3540), interrupted(2, 3500, 3540)]
    assert outlasted(nearly, 3540).startswith("it ran for 3500 s and did not end before its walltime, 2 times")
    assert outlasted(nearly[:1], 3540) == "", "once: its worker may have been slow"
    assert outlasted(nearly, 7200) == "", "this allocation is longer"
    begun_late = [interrupted(1, 60, 3540), interrupted(2, 2000, 3540)]
    assert outlasted(begun_late, 3540) == ""
    crashed = ItemRow("m", 7, 1, states.CRASHED, reason="budget/worker-lost")
    assert outlasted([crashed, crashed], 3540) == ""


# -- the dispatcher ------------------------------------------------------------------------------


def test_tasks_of_unknown_length_begin() -> None:
    it = Allocation(10)
    it.bench.map(range(8))
    assert len(it.at(9.9)) == 4, "two a slot"


def test_nothing_begins_that_cannot_end_in_time() -> None:
    it = Allocation(10)
    map = it.bench.map(range(40), chunk=1)
    first, second, *_ = it.at(0.0)
    it.at(3.0)
    assert it.ended(first, 3.0), "there is time for another"
    it.at(7.5)
    assert it.ended(second, 3.0) == []
    why = standing.of_map(it.tables, map)[-1].reason
    assert why == make("walltime", takes=3.0, left=2.5)


def test_what_waits_behind_a_running_item_comes_back_when_it_is_too_late_to_begin() -> None:
    it = Allocation(10)
    map = it.bench.map(range(40), chunk=4)
    first, *others = it.at(0.0)
    it.at(4.0)
    it.ended(first, *[1.0] * 4)
    assert it.shortened == []
    assert it.bench.dispatcher.next_due() == 9.0, "the latest start of this task"
    it.at(9.0)
    assert it.shortened == [chunk.id for chunk in it.bench.queue]
    assert {chunk.id for chunk in others} < set(it.shortened)
    for chunk in list(it.bench.queue):
        it.ended(chunk, 1.0)
    assert it.bench.queue == [], "what came back does not go out again"
    assert map.done == 4 + len(it.shortened)


def test_chunks_shrink_towards_the_end() -> None:
    it = Allocation(10, slots=1)
    it.bench.map(range(4000), chunk=100)
    first, second = it.at(0.0)
    it.at(1.0)
    (third,) = it.ended(first, *[0.01] * 100)
    assert len(third) == 100
    it.at(9.5)
    (fourth,) = it.ended(second, *[0.01] * 100)
    assert 0 < len(fourth) <= 50


def test_another_task_goes_on_where_one_is_held_back() -> None:
    it = Allocation(10)
    long, short = it.bench.map(range(40), chunk=1), it.bench.map(range(40), chunk=1)
    of = {chunk.id: long for chunk in it.at(0.0)}
    assert set(of.values()) == {long}
    it.at(5.0)
    for chunk in list(it.bench.queue):
        it.ended(chunk, 5.0 if of.get(chunk.id) else 0.1)
    it.at(9.0)
    for chunk in list(it.bench.queue):
        it.ended(chunk, 5.0 if chunk.stages == (long.sending.stage_ref,) else 0.1)
    assert {chunk.stages for chunk in it.bench.queue} == {(short.sending.stage_ref,)}
    assert it.near == []


def test_items_that_become_shorter_begin_again() -> None:
    it = Allocation(10, slots=1)
    map = it.bench.map(range(400), chunk=1)
    first, second = it.at(0.0)
    it.at(6.0)
    (third,) = [*it.ended(first, 6.0)] or [None]
    assert third is None
    for _ in range(40):  # running ones end quickly
        it.tables.walltime.took(it.tables.sent[second.id], _took(second, 0.1))  # type: ignore[union-attr]
    assert it.at(6.1), "six seconds are the exception now"
    assert map.queue.ready


def _took(chunk: Chunk, seconds: float) -> Report:
    times = array("q", [round(1e6 * seconds)])
    return Report(chunk.id, 0, 1, False, 1.0, times, times)


def test_the_program_drains_when_nothing_runs_and_nothing_can_begin() -> None:
    it = Allocation(10, slots=1)
    it.bench.map(range(40), chunk=1)
    first, second = it.at(0.0)
    it.at(4.0)
    it.ended(first, 4.0)
    it.at(8.0)
    it.ended(second, 4.0)
    for chunk in list(it.bench.queue):
        it.ended(chunk)
    assert it.near == [], "what runs the flow's function may submit something short"
    assert it.bench.dispatcher.next_due() == 8.0 + SETTLE
    it.at(8.0 + SETTLE)
    it.at(8.5 + SETTLE)
    assert it.near == ["Nothing that waits can end within the walltime."], "once"


@pytest.mark.parametrize("busy", ["running", "delayed"])
def test_it_does_not_drain_while_something_runs_or_comes_back(busy: str) -> None:
    it = Allocation(10, slots=1)
    map, other = it.bench.map(range(40), chunk=1), it.bench.map(range(1), chunk=1)
    first, second = it.at(0.0)
    if busy == "running":
        it.ended(first, 4.0)
        it.at(8.0)
        assert it.bench.queue == [second, *it.bench.queue[1:]]
    else:
        it.bench.dispatcher.timers.delay(other, 0, 9.5, states.AWAITING_RETRY)
        other.queue.ready.clear()
        it.ended(first, 4.0)
        it.at(8.0)
        for chunk in list(it.bench.queue):
            it.ended(chunk)
        assert it.bench.queue == []
    it.at(9.2)
    assert map.queue.ready
    assert it.near == []
    it.at(10.0)
    assert it.near == ["The walltime is over."]


def test_the_end_comes_where_nothing_is_known_too() -> None:
    it = Allocation(10)
    assert it.bench.dispatcher.next_due() == 10.0
    it.at(10.0)
    assert it.near == ["The walltime is over."]
    assert it.bench.dispatcher.next_due() is None
    it.bench.map(range(4))
    assert it.at(11.0) == [], "nothing begins any more"


def test_an_interrupted_item_says_how_long_it_ran_and_others_do_not() -> None:
    it = Allocation(10, slots=1)
    map = it.bench.map(range(6), chunk=3)
    first, second = it.at(0.0)
    it.at(2.0)
    it.ended(first, 2.0, final=False)
    it.at(9.5)
    it.ended(second)
    it.bench.dispatcher.cancelling.cancel_together([map], "walltime")
    it.bench.take()
    rows = {row.index: row for row in it.bench.rows if isinstance(row, ItemRow)}
    assert (rows[1].reason, rows[1].details) == (INTERRUPTED, make(INTERRUPTED, ran=7.5, walltime=10.0).details)
    assert rows[1].message == MESSAGE
    assert {rows[index].reason for index in (2, 3, 4, 5)} == {"cancelled/walltime"}


def interrupted_by_the_end(it: Allocation, map: MapRun) -> dict[int, float]:
    """The items that the end interrupts, and how long they ran."""
    it.bench.dispatcher.cancelling.cancel_together([map], "walltime")
    it.bench.take()
    rows = [row for row in it.bench.rows if isinstance(row, ItemRow) and row.reason.endswith(("walltime", INTERRUPTED))]
    assert {row.index for row in rows} == {i for i, code in enumerate(map.codes) if code == states.CANCELLED}
    return {row.index: details_of(row.details)["ran"] for row in rows if row.reason == INTERRUPTED}


def test_an_item_that_waited_behind_another_did_not_run() -> None:
    """It would be refused after two such walltimes, and had never begun."""
    it = Allocation(10, slots=1)
    map = it.bench.map(range(6), chunk=1)
    assert len(it.at(0.0)) == 2, "two a slot"
    it.at(9.5)
    assert interrupted_by_the_end(it, map) == {0: 9.5}


def test_an_item_that_waited_runs_from_the_end_of_the_one_before() -> None:
    it = Allocation(10, slots=1)
    map = it.bench.map(range(6), chunk=1)
    first, _ = it.at(0.0)
    it.at(4.0)
    assert it.ended(first, 4.0)
    it.at(9.5)
    assert interrupted_by_the_end(it, map) == {1: 5.5}


def test_an_item_that_waits_for_a_resource_too_is_not_judged() -> None:
    it = Allocation(10, slots=2)
    it.tables.lanes[0].offers = {"gpus": 1.0}
    map = it.bench.map(range(6), chunk=1, resources={"gpus": 1})
    assert it.at(0.0)
    it.at(9.5)
    assert interrupted_by_the_end(it, map) == {}


def test_a_worker_elsewhere_says_what_it_has_begun() -> None:
    it = Allocation(10, slots=1, held=True)
    map = it.bench.map(range(6), chunk=1)
    _, second = it.at(0.0)
    it.at(2.0)
    assert it.tables.walltime is not None
    it.tables.walltime.began(second.id)
    it.tables.walltime.began(1000)  # of a chunk that is gone
    it.at(3.0)
    it.tables.walltime.began(second.id)
    it.at(9.5)
    assert interrupted_by_the_end(it, map) == {1: 7.5}, "the other may wait for a worker"


def resumed(allocation: Allocation, *attempts: ItemRow) -> MapRun:
    """A map that an earlier driver left, of which one item has been tried."""
    map = allocation.bench.map(iter(()))
    map.resume.previous = PreviousItems()
    map.resume.interrupted[7] = attempts
    allocation.bench.dispatcher.intake.pulled(map, list(range(10)), True, None)
    return map


def test_an_item_too_long_for_any_walltime_fails_with_a_sentence() -> None:
    it = Allocation(3540)
    map = resumed(it, interrupted(1, 3500, 3540), interrupted(2, 3510, 3540))
    it.bench.run()
    assert [i for i, code in enumerate(map.codes) if code == states.FAILED] == [7]
    assert map.messages[7].startswith("item 7 of 'work': it ran for 3510 s")
    assert "ask for a longer walltime" in str(map.errors[7].exception)
    assert map.codes.count(states.COMPLETED) == 9


def test_an_item_that_was_interrupted_once_begins_again() -> None:
    it = Allocation(3540)
    map = resumed(it, interrupted(1, 3500, 3540))
    it.bench.run()
    assert map.codes.count(states.COMPLETED) == 10


def test_no_end_no_policy() -> None:
    bench = Bench()
    assert bench.dispatcher.tables.walltime is None
    assert bench.dispatcher.next_due() is None
    assert math.isinf(Span(0.0, math.inf).whole)
