"""Failed attempts of a map's items are told in one group at its end; lines of their own are for single runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from anabranch import context, flow, task
from anabranch import session as sessions
from anabranch.driver.item_lines import REMARKS
from anabranch.driver.run_logs import LOGGED_RUNS
from tests.acceptance.gates import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.acceptance.gates import Gate

ITEMS = 100
TIME = re.compile(r"\d\d:\d\d:\d\d\.\d+ \| ")
BAD = [3, 23, 43, 63, 83]


@task(retries=1)
def odd(x: int) -> int:
    if x % 20 == 3:
        raise ValueError(f"odd {x}")
    return x


@task(retries=1)
def wrong(x: int) -> int:
    raise ValueError(f"wrong {x}")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the handler has shown since the last look, without times."""
    sessions.current().pump.callback_thread.drain(30)
    lines = capsys.readouterr().err.splitlines()  # among them what an engine says of its start
    return [TIME.sub("", line) for line in lines if TIME.match(line) or line.startswith("    ")]


def singles(lines: list[str]) -> list[str]:
    return [line for line in lines if "Task run failed with exception" in line]


GROUP = "WARNING | Map 'odd' - 5 of 100 failed, 5 were tried again: 5 x ValueError: odd 3 (first at item 3)"


def test_a_map_s_failures_are_one_group(runner: str, capsys: pytest.CaptureFixture[str]) -> None:
    odd.map(range(ITEMS), chunk=10).wait()
    assert said(capsys) == [GROUP]


def test_code_that_waits_has_the_group_before_its_next_line(
    fresh_session: sessions.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    for read in (lambda made: made.wait(), lambda made: list(made.results(raise_on_failure=False))):
        read(odd.map(range(ITEMS)))
        assert GROUP in capsys.readouterr().err


def test_a_map_that_nobody_waits_for_tells_its_group_too(
    runner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = odd.map(range(ITEMS))
    for future in made:
        future.wait()
    until(made.done, "the end of the map")
    assert said(capsys) == [GROUP]


def test_the_record_has_each_failed_attempt(runner: str, capsys: pytest.CaptureFixture[str]) -> None:
    @flow
    def main() -> tuple[str, int]:
        return context.flow_run().id, len(odd.map(range(ITEMS), chunk=10).wait())

    run, _ = main()
    shown = said(capsys)
    assert singles(shown) == []
    assert GROUP in shown
    rows = sessions.current().records.logs(run, limit=1000)
    assert sorted(row.index for row in rows if singles([row.message])) == sorted(2 * BAD)
    assert [row.index for row in rows if row.logger == "Map 'odd'"] == [-1]


def test_asked_for_each_failed_attempt_has_its_line(runner: str, capsys: pytest.CaptureFixture[str]) -> None:
    odd.map(range(ITEMS), chunk=10, log_items=True).wait()
    shown = said(capsys)
    assert len(singles(shown)) == 2 * len(BAD)
    assert GROUP in shown
    odd.with_options(log_items=True).map(range(ITEMS)).wait()
    assert len(singles(said(capsys))) == 2 * len(BAD)


def test_items_that_complete_at_the_second_attempt_are_counted(
    runner: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="anabranch")

    @task(retries=1)
    def once(x: int) -> int:
        if context.task_run().attempt == 1 and x < 4:
            raise ValueError("not yet")
        return x

    assert sum(once.map(range(10)).result()) == 45
    assert said(capsys) == ["INFO    | Map 'once' - 4 of 10 items were tried again"]


def test_a_map_that_completes_or_is_cancelled_says_nothing(
    concurrent: str, capsys: pytest.CaptureFixture[str], gates: Callable[[str], Gate]
) -> None:
    odd.map([1, 2]).result()
    gate = gates("shut")
    made = task(lambda x: gate.wait()).map([1, 2, 3, 4, 5, 6, 7, 8], chunk=1)
    made.cancel()
    gate.open()
    made.wait()
    assert said(capsys) == []


def test_groups_by_kind(runner: str, capsys: pytest.CaptureFixture[str]) -> None:
    @task
    def many(x: int) -> float:
        return 1 / x if x < 8 else float({}["key"])

    many.map([0, 1, 0, 9]).wait()
    assert said(capsys) == [
        "WARNING | Map 'many' - 3 of 4 failed:",
        "    2 x ZeroDivisionError: division by zero (first at item 0)",
        "    1 x KeyError: 'key' (item 3)",
    ]


def test_single_runs_have_lines_and_many_of_them_have_not(
    fresh_session: sessions.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong.submit(1).wait()
    shown = said(capsys)
    assert [line.partition(" - ")[2].partition(" - ")[2] for line in singles(shown)] == [
        "Retry 1/1 will start immediately", "Retries are exhausted"
    ]  # fmt: skip

    for future in [wrong.submit(n) for n in range(LOGGED_RUNS)]:
        future.wait()
    shown = said(capsys)
    assert len(singles(shown)) == LOGGED_RUNS - 2
    assert sum("more lines like these about runs of 'wrong' are in the record only" in line for line in shown) == 1


def test_a_hook_that_fails_for_each_item_is_told_a_few_times(
    runner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*given: Any) -> None:
        raise OSError("no network")

    odd.with_options(on_completion=[broken]).map(range(ITEMS)).wait()
    shown = said(capsys)
    assert sum("no network" in line for line in shown) == REMARKS
    assert sum("more lines like these" in line for line in shown) == 1
