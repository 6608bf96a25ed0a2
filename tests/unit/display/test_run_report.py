"""Reports of runs from rows alone: what they show, that they stand alone, and what they merge."""

from __future__ import annotations

import re

import pytest

from anabranch.core import states
from anabranch.core.runs import Ended, FlowRunRow, ItemBlock, ItemRow, MapRow
from anabranch.display import run_cards, run_figures, run_report
from anabranch.display.run_figures import LANES, RunFigures, gather, states_of
from anabranch.display.timelines import nice_step
from anabranch.display.watch.tally import Tally
from anabranch.records.memory import MemoryRecords
from tests.unit.display.recorded import NOW, block, checked, run_row


def figures(*rows: object, run: FlowRunRow | None = None) -> RunFigures:
    records, row = MemoryRecords(), run or run_row()
    records.append([row, *rows])  # type: ignore[list-item]
    return gather(records, row, NOW + 20)


MAP = MapRow("m", "run-1", "load", "map", 2000, NOW, NOW + 9, {"Completed": 2000}, slots=2, account={"made": 2e6})


def test_a_page_stands_alone_and_is_whole() -> None:
    rows = [block(n * 500, 500, f"process-{n % 2 + 1}", n * 1.0) for n in range(4)]
    error = ItemRow(
        "m", 7, 1, states.FAILED, message="<script>alert(1)</script>", started=NOW, ended=NOW + 1, worker="process-1",
        error_type="ValueError", error_text="Traceback: </pre><script>alert(2)</script>",
    )  # fmt: skip
    found = figures(MAP, *rows, error, run=run_row(state=states.FAILED, state_name="Failed"))
    page = run_report.page(found)
    told = checked(page)
    assert (told.wrong, told.open) == ([], [])
    assert all(address.startswith("data:image/png;base64,") for address in told.addresses)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert page.count("<script>") == 1  # ours: what users wrote is escaped
    assert "etl &lt;b&gt;" in page
    for heading in ("Where the time went", "Timeline", "Workers", "Failures", "Tasks", "Memory"):
        assert f">{heading}</h" in page or f"<h2>{heading}" in page, heading


def test_a_page_of_a_run_without_tasks_and_of_one_that_goes_on() -> None:
    assert checked(run_report.page(figures())).wrong == []
    run = run_row(state=states.RUNNING, state_name="Running", ended=None)
    going = figures(MAP, block(0, 100, "process-1", 0.0), run=run)
    page = run_report.page(going)
    assert "and goes on" in page
    assert going.maps[0].counts[3] == 1900  # waiting


def test_many_workers_become_bands_and_a_sentence_says_so() -> None:
    rows = [block(n * 10, 10, f"node-{n}", 0.0) for n in range(200)]
    found = figures(MAP, *rows)
    assert len(found.lanes) <= LANES
    assert sum(lane.workers for lane in found.lanes) == 200
    assert found.lanes[0].name == "node-0 … node-3", "in the order of their numbers"
    assert "200 workers are drawn as 50 bands of 4." in run_report.page(found)


def test_the_page_of_a_million_items_is_as_large_as_that_of_a_few() -> None:
    bad = bytes([states.COMPLETED] * 99 + [states.FAILED]) * 100
    rows = [block(n * 10_000, 10_000, f"process-{n % 4}", n * 0.09, bad) for n in range(100)]
    page = run_report.page(figures(MapRow("m", "run-1", "load", "map", 1_000_000, NOW, slots=4), *rows))
    assert len(page) < 300_000
    assert "990,000 completed" in page


def test_few_runs_are_drawn_one_by_one_with_their_earlier_attempts() -> None:
    failed = ItemRow("m", 3, 1, states.AWAITING_RETRY, started=NOW + 1, ended=NOW + 1.5, worker="process-1")
    found = figures(
        MapRow("m", "run-1", "load", "map", 10, NOW), block(0, 10, "process-1", 0.0), failed,
    )  # fmt: skip
    assert len(found.marks) == 11
    assert any("tried again" in mark.text for mark in found.marks)
    assert found.maps[0].again == 0  # there is no second attempt in the record yet


def test_of_two_maps_of_a_task_each_failure_has_its_own_traceback() -> None:
    def failed(map: str, message: str) -> ItemRow:
        row = ItemRow(map, 3, 1, states.FAILED, message=message, ended=NOW + 1, error_type="ValueError")
        row.error_text, row.reason = f"trace of {map}", "budget/user"
        return row

    found = figures(
        MapRow("m", "run-1", "load", "map", 10, NOW), MapRow("n", "run-1", "load", "map", 10, NOW + 1),
        failed("m", "no date"), failed("n", "no number"),
    )  # fmt: skip
    assert {group.message: trace for group, trace in found.failures} == {
        "no date": "trace of m", "no number": "trace of n"
    }  # fmt: skip


def test_a_graph_names_each_map_and_what_it_reads() -> None:
    rows = [
        MapRow("a", "run-1", "load", "map", 5, NOW), MapRow("b", "run-1", "clean", "map", 5, NOW, upstreams=("a",)),
        MapRow("c", "run-1", "clean", "submit", 5, NOW, upstreams=("b", "c", "gone")),
    ]  # fmt: skip
    page = run_report.page(figures(*rows))
    assert page.count('class="arrow"') == 2
    assert "clean#2" in page
    assert "5 runs, linked" in page


def test_states_of_a_map_are_those_of_the_last_attempts() -> None:
    class Found:
        blocks = [  # noqa: RUF012
            ItemBlock("m", 0, 4, bytes([states.COMPLETED, states.FAILED, states.COMPLETED, 0])),
            ItemBlock("m", 1, 1, attempt=3),
        ]
        left = [(2, 1, states.AWAITING_RETRY), (1, 2, states.FAILED), (5, 2, states.CRASHED)]  # noqa: RUF012

    codes, again = states_of(5, Found())  # type: ignore[arg-type]
    done = states.COMPLETED
    assert list(codes) == [done, done, done, 0, 0, states.CRASHED]
    assert again == 2


def test_items_that_an_earlier_driver_ended_before_they_began_were_not_tried_again() -> None:
    class Found:
        blocks = [  # noqa: RUF012
            ItemBlock("m", 0, 4, bytes([states.CANCELLED]) * 4),
            ItemBlock("m", 0, 3, attempt=2),
            ItemBlock("m", 3, 1, attempt=3),
        ]
        left = [(0, 1, states.CANCELLED), (3, 2, states.AWAITING_RETRY)]  # noqa: RUF012

    codes, again = states_of(4, Found())  # type: ignore[arg-type]
    assert (bytes(codes), again) == (bytes([states.COMPLETED]) * 4, 1)
    tally = Tally()
    tally.take(Ended(Found.blocks, Found.left, None))
    assert (tally.retried, tally.counts()) == (1, {"Completed": 4})


def test_a_notebook_shows_it_without_what_untrusted_ones_drop() -> None:
    rows = [block(n * 500, 500, f"process-{n % 2 + 1}", n * 1.0) for n in range(4)]
    found = figures(MAP, *rows)
    html = run_cards.html(found)
    told = checked(html)
    assert (told.wrong, told.open) == ([], [])
    assert not re.search(r"<(style|script|svg|iframe)|var\(|class=", html)
    assert len(html) < 30_000
    text = run_cards.text(found)
    assert "load: 2,000 completed" in text
    assert "of it was your code" in text


@pytest.mark.parametrize("seconds", [1e-5, 0.003, 0.9, 7, 61, 4000, 100_000, 3e7])
def test_an_axis_has_a_few_round_steps(seconds: float) -> None:
    assert 1 < seconds / nice_step(seconds) <= 8


def test_what_is_in_the_package_travels_with_it() -> None:
    assert len(run_report.script()) + len(run_report.style()) < 30_000
    assert run_figures.CELLS <= 1_000
