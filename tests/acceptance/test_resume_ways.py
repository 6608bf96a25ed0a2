"""Which run goes on: parameters that are stored, run keys, refusals, one driver."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core import context
from anabranch.core.errors import ResumeError, RunTakenError

if TYPE_CHECKING:
    from tests.acceptance.resuming import Ledger


def test_parameters_that_cannot_be_stored_stand_in_the_way_only_where_resuming_was_asked_for(
    threads: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def body(held: Any) -> bool:
        return isinstance(held, type(threading.Lock()))

    with pytest.raises(ResumeError, match="Cannot store the parameters of a resumable flow"):
        flow(body, resumable=True)(threading.Lock())
    assert flow(body, retries=1)(threading.Lock())
    assert "Cannot store the parameters of a resumable flow" in caplog.text


def test_a_run_key_attaches_a_cell_to_its_run(runner: Any, ran: Ledger) -> None:
    @task
    def work(x: int) -> int:
        ran.note(x)
        return x

    def cell(numbers: list[int]) -> int:
        @flow(run_key="experiment")
        def main(numbers: list[int]) -> int:
            return sum(work.map(numbers).result())

        return main(numbers)

    assert cell([1, 2, 3]) == 6
    assert ran.take() == ["1", "2", "3"]
    assert cell([1, 2, 4]) == 7
    assert ran.take() == ["4"]
    rows = [row for row in sessions.current().records.flow_runs() if row.run_key == "experiment"]
    assert [row.attempt for row in rows] == [2]


def test_what_cannot_be_resumed_says_why(threads: Any, ran: Ledger) -> None:
    @flow(resumable=False)
    def plain() -> None:
        raise ValueError("no")

    @flow(resumable=True)
    def other() -> None: ...

    state = plain(return_state=True)
    with pytest.raises(ResumeError, match="was not resumable"):
        plain.resume(state.run_id)
    with pytest.raises(ResumeError, match="of flow 'plain', not of 'other'"):
        other.resume(state.run_id)
    with pytest.raises(ResumeError, match="no flow run 'nobody'"):
        plain.resume("nobody")


def test_a_run_that_goes_on_has_one_driver(threads: Any, ran: Ledger) -> None:
    def resume() -> None:
        try:
            main.resume(main_run[0])
        except ResumeError as error:
            found.append(error)

    @flow(resumable=True)
    def main() -> int:
        here = context.current_flow.get()
        assert here is not None
        main_run.append(here.id)
        with pytest.raises(ResumeError, match="from outside any flow"):
            main.resume(main_run[0])
        thread = threading.Thread(target=resume)
        thread.start()
        thread.join()
        return 1

    main_run: list[str] = []
    found: list[ResumeError] = []
    assert main() == 1
    assert isinstance(found[0], RunTakenError)
    assert f"process {os.getpid()}" in str(found[0])
