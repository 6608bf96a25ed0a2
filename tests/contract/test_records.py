"""What any `Records` does: one suite over a SQLite file, files of a shared folder, PostgreSQL, and memory."""

from __future__ import annotations

import os
from array import array

import pytest

from anabranch.core import states
from anabranch.core.errors import RecordsError
from anabranch.core.runs import (
    FlowRunRow,
    HeartbeatRow,
    ItemBlock,
    ItemRow,
    LogRow,
    MapRow,
    ReasonCount,
    Records,
    TransitionRow,
)
from tests.contract.recording import NOW, WAIT, all_items, run_row, write

# -- flow runs -------------------------------------------------------------------------------------


def test_flow_run_round_trip(records: Records) -> None:
    row = FlowRunRow(
        "run-1", "etl", "brave-newt", states.FAILED, "Failed", "1/3 states failed. é\u2028", NOW, NOW + 1, NOW + 2.5, 2,
        "parent", "v3", "thread", ("a", "b,c"), '{"x": 1}', 4711, 12.25, "host", NOW, True, "key", "a.py:etl", 3,
    )  # fmt: skip
    write(records, row)
    assert records.flow_run("run-1") == row
    assert records.flow_runs() == [row]


def test_flow_run_is_replaced(records: Records) -> None:
    write(records, run_row())
    write(records, run_row(state=states.RUNNING), run_row(state=states.COMPLETED, state_name="", ended=NOW))
    found = records.flow_run("run-1")
    assert found is not None
    assert (found.state, found.state_name, found.ended) == (states.COMPLETED, "Completed", NOW)
    assert len(records.flow_runs()) == 1


def test_flow_runs_newest_first_and_filtered(records: Records) -> None:
    ends = [(states.COMPLETED, ""), (states.TIMED_OUT, "TimedOut"), (states.FAILED, "Rejected"), (states.CACHED, "")]
    rows = [
        run_row(f"run-{n}", created=NOW + n, state=state, state_name=name, flow="even" if n % 2 == 0 else "odd")
        for n, (state, name) in enumerate(ends)
    ]
    write(records, *rows)

    def ids(**asked: object) -> list[str]:
        return [row.id for row in records.flow_runs(**asked)]  # type: ignore[arg-type]

    assert ids() == ["run-3", "run-2", "run-1", "run-0"]
    assert ids(limit=2) == ["run-3", "run-2"]
    assert ids(flow="odd") == ["run-3", "run-1"]
    assert ids(state="Failed") == ["run-2", "run-1"]
    assert ids(state="TimedOut") == ["run-1"]
    assert ids(state="Rejected") == ["run-2"]
    for asked in ({}, {"flow": "odd"}, {"state": "Failed"}, {"state": "Rejected", "flow": "even"}, {"flow": "none"}):
        assert records.count_flow_runs(**asked) == len(ids(**asked)), "however many are read"
    assert ids(state="COMPLETED", flow="even") == ["run-0"]
    assert ids(state="NoSuchState") == []


def test_flow_run_by_prefix_and_name(records: Records) -> None:
    write(
        records,
        run_row("aa-1", created=NOW, name="calm-elk"),
        run_row("aa-2", created=NOW + 5, name="calm-elk"),
        run_row("ab_1", name="aa"),
    )

    def found(text: str) -> str | None:
        row = records.flow_run(text)
        return row.id if row else None

    assert found("aa-1") == "aa-1"
    assert found("ab") == "ab_1"
    assert found("ab%") is None
    assert found("a") is None  # which of three?
    assert found("aa") == "ab_1"  # no unique beginning, but a name
    assert found("calm-elk") == "aa-2"
    assert found("") is None
    assert found("zz") is None


def test_heartbeat_only_moves_forward(records: Records) -> None:
    write(records, run_row(heartbeat=5.0), HeartbeatRow("run-1", 9.0), HeartbeatRow("run-1", 7.0))
    write(records, run_row(state=states.COMPLETED), HeartbeatRow("no such run", 1.0))
    found = records.flow_run("run-1")
    assert found is not None
    assert (found.heartbeat, found.state) == (9.0, states.COMPLETED)


# -- maps and items --------------------------------------------------------------------------------


def test_map_round_trip(records: Records) -> None:
    begun = MapRow("m1", "run-1", "double", "map", None, NOW + 1)
    ended = MapRow("m1", "run-1", "double", "map", 10, NOW + 1, NOW + 2, {"Completed": 9, "Failed": 1}, "p/3", ("t",))
    earlier = MapRow("m2", "run-1", "halve", "submit", 1, NOW)
    write(records, begun, earlier, MapRow("m3", "run-2", "x", "call", 1))
    write(records, ended)
    assert records.maps("run-1") == [earlier, ended]
    assert records.maps("none") == []


def test_items_of_blocks(records: Records) -> None:
    started, durations = array("i", [0, 1000, 2000]), array("i", [500, -1, 1_500_000])
    write(records, ItemBlock("m", 4, 3, bytes([7, 9, 8]), NOW, started, durations, 1, "w1"), ItemBlock("m", 9, 2))
    views = records.items("m")
    assert [(v.index, v.state, v.attempt, v.worker) for v in views] == [
        (4, "Completed", 1, "w1"), (5, "Failed", 1, "w1"), (6, "Cached", 1, "w1"),
        (9, "Completed", 1, ""), (10, "Completed", 1, ""),
    ]  # fmt: skip
    assert [v.duration for v in views] == [0.0005, None, 1.5, None, None]
    assert [v.started for v in views] == [NOW, NOW + 0.001, NOW + 0.002, None, None]


def test_items_in_pages_and_by_state(records: Records) -> None:
    codes = bytes(states.FAILED if n % 100 == 7 else states.COMPLETED for n in range(1000))
    blocks = [ItemBlock("m", n * 1000, 1000, codes) for n in range(5)]
    write(records, *blocks, MapRow("m", "r", "t", "map", 5000, NOW, NOW))
    assert list(all_items(records, "m", first=995, limit=10)) == list(range(995, 1005))
    failed = all_items(records, "m", states=["Failed"])
    assert list(failed) == list(range(7, 5000, 100))
    assert list(all_items(records, "m", states=["Failed"], first=2008, limit=2)) == [2107, 2207]
    assert len(all_items(records, "m", limit=10_000)) == 5000
    assert all_items(records, "m", first=5000) == {}
    assert all_items(records, "m", states=[]) == {}
    assert all_items(records, "m", limit=0) == {}
    assert all_items(records, "none") == {}


def test_items_that_were_tried_more_than_once(records: Records) -> None:
    """Whatever became of them, told by blocks and by rows."""
    write(
        records, ItemBlock("m", 0, 100), ItemBlock("m", 20, 2, attempt=2),
        ItemRow("m", 50, 1, states.AWAITING_RETRY), ItemRow("m", 50, 2, states.FAILED),
        ItemRow("m", 60, 3, states.AWAITING_RETRY), ItemRow("m", 70, 1, states.FAILED),
    )  # fmt: skip
    found = records.items("m", states=["Retried"])
    assert [(v.index, v.attempt, v.state) for v in found] == [
        (20, 2, "Completed"), (21, 2, "Completed"), (50, 2, "Failed"), (60, 3, "AwaitingRetry")
    ]  # fmt: skip
    assert [v.index for v in records.items("m", states=["Retried", "FAILED"])] == [20, 21, 50, 60, 70]


def test_items_far_apart(records: Records) -> None:
    far = 5_000_000_000
    write(records, ItemBlock("m", far, 2), ItemRow("m", 3 * far, 1, states.FAILED), ItemBlock("m", 2, 1))
    assert list(all_items(records, "m")) == [2, far, far + 1, 3 * far]


def test_singles_in_any_order(records: Records) -> None:
    order = [n ^ 1 for n in range(500)]
    singles = [
        ItemBlock("m", i, 1, None, NOW + i, array("i", [i]), array("i", [i + 1]), 1, f"w{i % 2}") for i in order
    ]
    write(records, *singles)
    write(records, MapRow("m", "r", "t", "submit", None, NOW, NOW))
    for view in records.items("m"):
        assert view.started == pytest.approx(NOW + view.index + view.index / 1e6, abs=1e-6)
        assert view.duration == (view.index + 1) / 1e6
        assert view.worker == f"w{view.index % 2}"
    assert len(records.items("m")) == 500


def test_rows_say_more_than_blocks(records: Records) -> None:
    row = ItemRow("m", 1, 1, states.FAILED, "Rejected", "n", "why", NOW, NOW + 2, "w", "ValueError", "Traceback")
    write(records, ItemBlock("m", 0, 3, bytes([7, 9, 7])), row)
    view = records.items("m")[1]
    assert (view.state, view.name, view.message, view.error_type, view.error_text, view.worker) == (
        "Rejected", "n", "why", "ValueError", "Traceback", "w",
    )  # fmt: skip
    assert (view.started, view.duration) == (NOW, 2.0)
    assert list(all_items(records, "m", states=["Rejected"])) == [1]
    assert list(all_items(records, "m", states=["Failed"])) == [1]


def test_last_attempt_is_the_current_one(records: Records) -> None:
    write(records, ItemBlock("m", 0, 4), ItemRow("m", 1, 2, states.FAILED), ItemRow("m", 2, 1, states.AWAITING_RETRY))
    write(records, ItemRow("m", 3, 1, states.FAILED), ItemBlock("m", 3, 1, attempt=2))
    write(records, ItemRow("m", 5, 1, states.RUNNING))
    write(records, ItemRow("m", 5, 1, states.COMPLETED))
    assert all_items(records, "m") == {0: "Completed", 1: "Failed", 2: "Completed", 3: "Completed", 5: "Completed"}
    assert [view.attempt for view in records.items("m")] == [1, 2, 1, 2, 1]


def test_a_single_that_was_named_while_it_ran(records: Records) -> None:
    write(records, ItemRow("m", 0, 1, states.RUNNING, name="load-0"), ItemBlock("m", 0, 1))
    [view] = records.items("m")
    assert (view.state, view.name) == ("Completed", "load-0")


def test_empty_block_is_nothing(records: Records) -> None:
    write(records, ItemBlock("m", 0, 0), ItemBlock("m", 0, 0, b""))
    assert records.items("m") == []


def test_inconsistent_block_is_left_out(records: Records) -> None:
    write(records, ItemBlock("m", 0, 5, b"\x07"), ItemBlock("m", 7, 1))
    assert list(all_items(records, "m")) == [7]


# -- failures, transitions, logs -------------------------------------------------------------------


def test_failures_in_groups(records: Records) -> None:
    def fail(index: int, message: str, attempt: int = 1, state: int = states.FAILED, map: str = "m") -> ItemRow:
        return ItemRow(map, index, attempt, state, message=message, error_type="ValueError")

    write(
        records,
        MapRow("m", "run-1", "double", "map", 10), MapRow("o", "run-1", "other", "map", 10),
        MapRow("else", "run-2", "double", "map", 10),
        fail(5, "bad"), fail(3, "bad"), fail(4, "worse", state=states.CRASHED), fail(1, "bad", map="o"),
        fail(6, "bad"), ItemRow("m", 6, 2, states.COMPLETED),
        fail(7, "bad"), ItemBlock("m", 7, 1, attempt=2), ItemBlock("m", 9, 1, attempt=2),
        fail(8, "first"), fail(8, "bad", attempt=2),
        ItemRow("m", 2, 1, states.CANCELLED), fail(0, "bad", map="else"),
        MapRow("old", "run-1", "other", "submit", 1, superseded="o"), fail(0, "bad", map="old"),
    )  # fmt: skip
    assert records.failures("run-1") == [
        ("double", "ValueError", "bad", 3, 3),
        ("double", "ValueError", "worse", 1, 4),
        ("other", "ValueError", "bad", 1, 1),
    ]
    assert records.failures("run-1", limit=1) == [("double", "ValueError", "bad", 3, 3)]
    assert records.failures("none") == []
    assert records.failed("run-1") == [("double", "ValueError", 4, 3), ("other", "ValueError", 1, 1)]
    assert records.failed("none") == []


@pytest.mark.parametrize("later", [False, True])
def test_failures_of_any_number_of_messages_are_counted(records: Records, later: bool) -> None:
    rows = [
        ItemRow("m", n, 1, states.FAILED, message=f"bad {n}", error_type="KeyError" if n % 10 else "ValueError")
        for n in range(1, 3000)
    ]
    write(records, MapRow("m", "run-1", "double", "map", 3000), *rows)
    if later:
        write(records, ItemBlock("m", 7, 2, attempt=2), ItemRow("m", 9, 2, states.FAILED, error_type="TypeError"))
    assert len(records.failures("run-1", limit=1000)) == 1000
    keys = [("double", "KeyError", 2700 - 3 * later, 1), ("double", "ValueError", 299, 10)]
    assert records.failed("run-1") == keys + [("double", "TypeError", 1, 9)] * later


def test_attempts_of_an_item(records: Records) -> None:
    first = ItemRow("m", 3, 1, states.AWAITING_RETRY, "AwaitingRetry", "n", "bad", NOW, NOW, "w", "E", "t", "timeout",
                    '{"of": 1}')  # fmt: skip
    second = ItemRow("m", 3, 2, states.FAILED, "Failed", reason="budget/user")
    write(records, ItemBlock("m", 0, 10), second, first, ItemRow("m", 4, 1, states.FAILED), ItemRow("o", 3, 1, 9))
    assert records.attempts("m", 3) == [first, second]
    assert records.attempts("m", 5) == []


def test_reasons_in_groups(records: Records) -> None:
    def left(index: int, reason: str, state: int, attempt: int = 1, map: str = "m") -> ItemRow:
        return ItemRow(map, index, attempt, state, reason=reason)

    retry, failed = states.AWAITING_RETRY, states.FAILED
    write(
        records,
        ItemBlock("m", 0, 20),
        left(5, "budget/user", failed), left(3, "budget/user", failed),
        left(6, "budget/user", retry), ItemBlock("m", 6, 1, attempt=2),  # completed at its second attempt
        left(7, "timeout", retry), left(7, "budget/user", failed, 2),
        left(8, "timeout", retry), ItemRow("m", 8, 2, states.COMPLETED),  # a plain call tells so by a row
        left(9, "timeout", retry),  # still to come
        ItemRow("m", 10, 1, states.COMPLETED, name="named"),
        left(1, "cancelled/user", states.CANCELLED, map="o"), ItemRow("o", 5, 1, states.COMPLETED, name="named"),
        left(4, "cancelled/user", states.CANCELLED, map="o"), left(2, "poison", states.CRASHED, map="else"),
    )  # fmt: skip
    assert records.reasons(["m", "o"]) == [
        ReasonCount("m", "budget/user", failed, False, 3, 3),
        ReasonCount("o", "cancelled/user", states.CANCELLED, False, 2, 1),
        ReasonCount("m", "budget/user", retry, True, 1, 6),
        ReasonCount("m", "timeout", retry, False, 1, 9),
        ReasonCount("m", "timeout", retry, True, 1, 8),
    ]
    assert records.reasons([]) == records.reasons(["none"]) == []


def test_transitions(records: Records) -> None:
    ends = [(states.RUNNING, "Running", NOW), (states.COMPLETED, "Completed", NOW - 1)]  # clocks may be set back
    of_run = [TransitionRow("r", -1, 1, code, name, "", when) for code, name, when in ends]
    of_item = TransitionRow("r", 3, 2, states.FAILED, "TimedOut", "5 s", NOW)
    write(records, of_run[0], of_item, of_run[1], TransitionRow("s", -1, 1, 7, "", "", NOW))
    assert records.transitions("r") == [of_run[0], of_item, of_run[1]]
    assert records.transitions("r", -1) == of_run
    assert records.transitions("r", 3) == [of_item]
    assert records.transitions("s")[0].state_name == "Completed"


def test_logs(records: Records) -> None:
    lines = [LogRow(NOW + n, 10 * (n % 3 + 1), "lg", f"line {n} \0 é", "r", "m", n) for n in range(9)]
    write(records, *reversed(lines), LogRow(NOW, 20, "lg", "other", "s"))
    assert records.logs("r") == lines
    assert records.logs("r", level=30) == [lines[2], lines[5], lines[8]]
    assert records.logs("r", limit=2) == lines[-2:]
    assert records.logs("s") == [LogRow(NOW, 20, "lg", "other", "s")]
    assert [records.count_logs("r", level=level) for level in (0, 20, 30)] == [9, 6, 3]
    assert (records.count_logs("s"), records.count_logs("none")) == (1, 0)


def test_text_that_no_file_can_hold(records: Records) -> None:
    write(records, *(LogRow(NOW + n, 20, "lg", f"{n}", "r") for n in range(3)))
    write(records, LogRow(NOW + 3, 20, "lg", "half \ud800", "r"), LogRow(NOW + 4, 20, "lg", "4", "r"))
    assert [line.message[:4] for line in records.logs("r")] == ["0", "1", "2", "half", "4"]


# -- life ------------------------------------------------------------------------------------------


def test_close_commits_and_ends(records: Records) -> None:
    records.append([run_row()])
    records.close()
    records.close()
    assert records.flow_run("run-1") is not None
    with pytest.raises(RecordsError):
        records.append([run_row("run-2")])


def test_flush_without_rows(records: Records) -> None:
    assert records.flush(WAIT)
    write(records, run_row())
    assert records.flush(WAIT)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_may_read_but_not_write(records: Records) -> None:
    write(records, run_row())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert records.flow_run("run-1") is not None
            for forbidden in (lambda: records.append([run_row("run-2")]), lambda: records.flush(0.1)):
                with pytest.raises(RecordsError):
                    forbidden()
            records.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    write(records, run_row("run-3"))
    assert {row.id for row in records.flow_runs()} == {"run-1", "run-3"}
