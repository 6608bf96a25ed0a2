"""The panels of the view, from facts: pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from anabranch.core import states
from anabranch.core.runs import Ended, FlowRunRow, ItemBlock, LogRow, MapRow
from anabranch.display.watch import panels
from anabranch.display.watch.facts import Facts
from anabranch.display.watch.tables import STRIP, Table, cells
from anabranch.display.watch.tally import Share, Tally, Work

NOW = datetime(2026, 11, 30, 12, 0, 0).timestamp()
RUN = FlowRunRow("run-1", "etl", "brave-newt", states.RUNNING, "Running", created=NOW - 61, started=NOW - 60,
                 runner="thread")  # fmt: skip


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.rows]


def tally(count: int, failed: int = 0) -> Tally:
    found = Tally()
    codes = bytes([states.FAILED] * failed + [states.COMPLETED] * (count - failed))
    found.take(Ended([ItemBlock("m", 0, count, codes)] * bool(count), [], None))
    return found


def test_runs_say_how_long_they_take() -> None:
    ended = replace(RUN, id="run-0", state=states.FAILED, state_name="Failed", started=NOW - 90_000, ended=NOW - 89_996)
    waits = replace(RUN, id="run-2", state=states.SCHEDULED, state_name="Scheduled", started=None, created=NOW)
    table = panels.runs(Facts(now=NOW, runs=[RUN, ended, waits], total=70), 100)
    assert [row[:1] + row[1:2] + row[3:5] for row in texts(table)] == [
        ["brave-newt", "Running", "11:59:00", "1:00"],
        ["brave-newt", "Failed", "29 Nov", "4.00 s"],
        ["brave-newt", "Scheduled", "12:00:00", ""],
    ]
    assert [row.cells[1].tone for row in table.rows] == ["live", "bad", "quiet"]
    assert panels.runs_title(Facts(now=NOW, runs=[RUN, ended], total=70)) == "the newest 2 of 70 runs, 1 not ended"
    assert panels.run_title(Facts(run=replace(RUN, message="why"))) == "etl (brave-newt) Running: why"
    assert panels.run_title(Facts()) == "no run"


def test_a_map_under_way_is_counted_from_what_has_ended() -> None:
    map = MapRow("m", "run-1", "load", "map", 400, NOW - 10)
    [[task, strip, share, items, failed, rate, left, retried]] = texts(
        panels.maps(Facts(now=NOW, run=RUN, maps=[(map, tally(100, 3))], rates={"m": 20.0}), 120)
    )
    assert (task, share, items, failed, rate, left, retried) == ("load", "25%", "100/400", "3", "20.0/s", "0:15", "")
    assert strip == "x" + "▇" * 5 + "·" * 18
    assert len(strip) == panels.WIDE


def test_an_ended_map_is_counted_by_its_own_row() -> None:
    counts = {"Completed": 380, "Failed": 19, "Crashed": 1}
    map = MapRow("m", "run-1", "load", "map", 400, NOW - 10, NOW, counts)
    [row] = texts(panels.maps(Facts(now=NOW, run=RUN, maps=[(map, tally(0))]), 120))
    assert row[2:7] == ["100%", "400/400", "20", "40.0/s", ""]


def test_maps_of_no_known_length_and_series_of_submits_have_no_share() -> None:
    for map in (MapRow("m", "r", "load", "map", None, NOW), MapRow("m", "r", "load", "submit", 5, NOW)):
        [row] = texts(panels.maps(Facts(now=NOW, run=RUN, maps=[(map, tally(7))], rates={"m": 1.0}), 120))
        assert row[2:7] == ["", "7", "", "1.0/s", ""]
    [row] = texts(panels.maps(Facts(now=NOW, run=RUN, maps=[(MapRow("m", "r", "t", "map", 0), tally(0))]), 120))
    assert row[2:4] == ["100%", "0/0"]


def test_a_map_whose_run_was_killed_goes_on_no_more() -> None:
    map = MapRow("m", "run-1", "load", "map", 400, NOW - 10)
    crashed = replace(RUN, state=states.CRASHED, state_name="Crashed")
    [row] = panels.maps(Facts(now=NOW, run=crashed, maps=[(map, tally(100))], rates={"m": 20.0}), 120).rows
    assert [row.cells[n].text for n in (2, 5, 6)] == ["25%", "", ""]
    assert row.cells[1].tone == STRIP


def test_a_strip_shows_how_much_of_each_part_has_ended() -> None:
    shares = [Share(0.0, False), Share(0.001, False), Share(0.5, False), Share(0.99, False), Share(1.0, False)]
    assert panels.strip([*shares, Share(1.0, True)]) == "·▁▃▆▇x"
    assert panels.strip(Tally().strip(4, 100)) == "····"
    assert panels.strip(Tally().strip(4, None)) == "····"
    assert panels.strip(tally(2).strip(4, 2)) == "▇▇▇▇"


def test_workers_have_items_and_a_share_of_the_time() -> None:
    one = Tally()
    one.workers = {"process-10": Work(5, 30.0, NOW - 5), "process-9": Work(1000, 6.0, NOW), "b": Work(1)}
    two = Tally()
    two.workers = {"process-9": Work(24, 6.0, NOW - 1)}
    map = MapRow("m", "r", "t", "map", 1)
    facts = Facts(now=NOW, run=RUN, maps=[(map, one), (map, two)])
    assert texts(panels.workers(facts, 80)) == [
        ["b", "1", "", ""], ["process-9", "1,024", "20%", "now"], ["process-10", "5", "50%", "0:05 ago"],
    ]  # fmt: skip
    ended = replace(facts, run=replace(RUN, state=states.COMPLETED, ended=NOW))
    assert texts(panels.workers(ended, 80))[1] == ["process-9", "1,024", "20%", "12:00:00"]
    assert panels.workers_title(facts) == "3 workers"
    assert texts(panels.workers(Facts(), 80)) == []


def test_lines_of_a_log_in_the_panel_and_on_their_page() -> None:
    trace = "it failed\nTraceback:\n  File x.py, line 3, in a function with a long name that needs more room"
    lines = [LogRow(NOW + 0.25, 30, "Flow run 'x'", "one", "r"), LogRow(NOW + 1, 40, "", trace, "r")]
    first, second = panels.log(lines, 60).rows
    assert [cell.text for cell in first.cells] == ["12:00:00.250", "WARNING", "Flow run 'x' - one"]
    assert [cell.tone for cell in second.cells] == ["quiet", "bad", ""]
    page = texts(panels.log_page(lines, 60))
    assert [row[2] for row in page] == [
        "Flow run 'x' - one", "it failed", "Traceback:", "  File x.py, line 3, in a function",
        "    with a long name that needs more", "    room",
    ]  # fmt: skip
    assert all(len(row[2]) <= 36 for row in page)
    assert texts(panels.text_page("a\n\n  b c", 20)) == [["a"], [""], ["  b c"]]
    wide = "日本語のログ" * 20
    rows = [cell for row in texts(panels.text_page(wide, 40)) for cell in row]
    assert "".join(rows).replace(" ", "") == wide
    assert max(map(cells, rows)) <= 40


@pytest.mark.parametrize("lines", [4, 8, 13, 15, 22, 32, 60, 200])
@pytest.mark.parametrize("runs", [0, 1, 50])
@pytest.mark.parametrize("maps", [0, 2, 40])
@pytest.mark.parametrize("failures", [0, 3])
def test_the_panels_fill_the_screen_and_leave_room_for_the_log(lines: int, runs: int, maps: int, failures: int) -> None:
    row = MapRow("m", "run-1", "load", "map", 1)
    found = Tally()
    found.workers = {f"w{n}": Work(1) for n in range(maps)}
    facts = Facts("", NOW, [RUN] * runs, runs, RUN, [(row, found)] * maps, failures=["f"] * failures)
    heights = panels.heights(lines, facts)
    assert sum(heights) == max(lines, 4)
    assert heights.runs >= 4
    assert min(heights) >= 0
    assert all(height == 0 or height >= 3 for height in (heights.maps, heights.failures, heights.workers))
    if lines >= 13:
        assert heights.maps >= 3
        assert heights.log >= 3
