"""Failures in groups, counts in the order of states."""

from __future__ import annotations

from typing import Any, cast

from anabranch.core.maps import MapRun
from anabranch.core.options import TaskOptions
from anabranch.core.reports import ErrorInfo
from anabranch.core.states import COMPLETED, CRASHED, FAILED
from anabranch.core.task_spec import TaskSpec
from anabranch.display import summary
from anabranch.display.summary import Failures


def test_a_map_s_failures_are_grouped_by_what_does_not_change() -> None:
    map = MapRun("m", TaskSpec("load", len, TaskOptions()), TaskOptions(), kind="map", lane=0)
    map.codes = bytearray([COMPLETED] * 30)
    for index, message in {
        17: "invalid syntax (a.py, line 3)", 20: "invalid syntax (b.py, line 71)", 25: "no such key 'x'",
        21: "invalid syntax (c.py, line 3)",
    }.items():  # fmt: skip
        map.codes[index] = FAILED
        map.errors[index] = ErrorInfo("KeyError" if index == 25 else "SyntaxError", message, "")
    map.codes[29] = CRASHED
    map.messages[29] = "worker lost"
    found = summary.of_map(map)
    kinds = [(g.type, g.count, g.first) for g in found]
    assert kinds == [("SyntaxError", 3, 17), ("KeyError", 1, 25), ("Crashed", 1, 29)]
    assert summary.failure_lines(found) == [
        "3 x SyntaxError: invalid syntax (a.py, line 3) (first at item 17)",
        "1 x KeyError: no such key 'x' (item 25)",
        "1 x Crashed: worker lost (item 29)",
    ]


class Recorded:
    """A record of a run with so many failures, of which so many messages are read."""

    def __init__(self, read: list[tuple[str, str, str, int, int]], failed: list[tuple[str, str, int, int]]) -> None:
        self._read = read
        self._failed = failed

    def failures(self, flow_run: str, *, limit: int) -> list[tuple[str, str, str, int, int]]:
        return self._read[:limit]

    def failed(self, flow_run: str) -> list[tuple[str, str, int, int]]:
        return self._failed


def shown(read: list[tuple[str, str, str, int, int]], failed: list[tuple[str, str, int, int]]) -> list[str]:
    return summary.failure_lines(summary.of_records(cast("Any", Recorded(read, failed)), "run"))


def test_rows_of_the_record_are_merged() -> None:
    full = [("load", "OSError", "disk 3 full", 5, 9), ("load", "OSError", "disk 4 full", 7, 2)]
    rows = [*full, ("save", "OSError", "", 1, 0)]
    recorded = cast("Any", Recorded(rows, [("load", "OSError", 12, 2), ("save", "OSError", 1, 0)]))
    assert summary.of_records(recorded, "run") == [
        Failures("load", "OSError", "disk 4 full", 12, 2), Failures("save", "OSError", "", 1, 0)
    ]  # fmt: skip


def test_what_is_read_of_many_is_no_figure() -> None:
    """Each has a message of its own: all are counted, the message is one of them."""
    read = [("load", "ValueError", f"bad {n}", 1, n) for n in range(1, 5000, 2)]
    assert shown(read, [("load", "ValueError", 150_000, 1)]) == ["150,000 x ValueError, e.g. bad 1 (first at item 1)"]


def test_the_first_item_is_that_of_all_however_few_messages_were_read() -> None:
    read = [("load", "ValueError", f"bad {n}", 1, n) for n in range(11, 5000)]
    assert shown(read, [("load", "ValueError", 6_000, 1)]) == ["6,000 x ValueError, e.g. bad 11 (first at item 1)"]


def test_groups_beside_messages_that_were_not_read() -> None:
    read = [("load", "OSError", "disk full", 70_000, 3), ("load", "OSError", "gone: a", 2, 5)]
    read += [("load", "OSError", f"bad {n}", 1, n) for n in range(10, 5000)]
    assert shown(read, [("load", "OSError", 150_000, 3), ("load", "KeyError", 4, 8)]) == [
        "79,000 x OSError (other messages)",
        "at least 70,000 x OSError: disk full (first at item 3)",
        "at least 998 x OSError: bad 10 (first at item 10)",
        "4 x KeyError (first at item 8)",
        "at least 2 x OSError: gone: a (first at item 5)",
    ]


def test_many_kinds_are_cut_and_counted() -> None:
    groups = [Failures("t", "E", f"kind {chr(97 + i)}", 2, i) for i in range(15)]
    lines = summary.failure_lines(groups, limit=3, task=True)
    assert len(lines) == 4
    assert lines[0] == "t: 2 x E: kind a (first at item 0)"
    assert lines[-1] == "and 24 more of 12 other kinds"


def test_long_messages_are_one_short_line() -> None:
    line = summary.failure_lines([Failures("t", "E", "x" * 500 + "\nmore", 1, 0)])[0]
    assert len(line) < 150
    assert "\n" not in line


def test_counts() -> None:
    assert summary.counts_line({"Failed": 12, "Completed": 1700, "Running": 0}) == "1,700 Completed, 12 Failed"
    assert summary.counts_line({}) == "nothing"
