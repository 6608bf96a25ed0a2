"""Attempts of a resumed run have the next numbers, and the record shows each item as it stands."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core.runs import ItemRow
from anabranch.core.states import AWAITING_RETRY, CANCELLED
from tests.acceptance.resuming import Ledger, adding, fails


def test_a_resumed_run_has_its_retries_anew(runner: Any, ran: Ledger) -> None:
    @task(retries=1)
    def shaky(x: int) -> int:
        ran.note(x)
        if not ran.mended or len((ran.folder / "ran").read_text().split()) < 2:
            raise ValueError(x)
        return x

    @flow(resumable=True)
    def main() -> list[int]:
        found: list[int] = shaky.map([7]).result()
        return found

    run = fails(main)
    assert ran.take() == ["7", "7"]
    ran.mend()
    assert main.resume(run) == [7]
    assert ran.take() == ["7", "7"]  # once more in vain, and then its retry
    records = sessions.current().records
    (map,) = records.maps(run)
    assert [view.attempt for view in records.items(map.id)] == [4]


def test_an_item_whose_value_was_lost_and_that_was_given_up_is_completed_where_its_value_is_stored(
    runner: Any, ran: Ledger
) -> None:
    main = adding(ran, 40)
    run = fails(main)
    ran.take()
    ran.mend()
    session = sessions.current()
    (map,) = session.records.maps(run)
    for index in (3, 30):  # on Dask, with a worker that died; then SIGTERM
        session.write([ItemRow(map.id, index, 1, AWAITING_RETRY), ItemRow(map.id, index, 2, CANCELLED, "Cancelled")])
    session.flush_records()
    assert main.resume(run) == sum(range(40))
    assert ran.take() == []
    found = {view.index: (view.attempt, view.state) for view in session.records.items(map.id)}
    assert found == {n: (3 if n in (3, 30) else 1, "Completed") for n in range(40)}


@pytest.mark.parametrize("given_up", [False, True])
def test_attempts_count_on_where_completed_items_are_made_anew(runner: Any, ran: Ledger, given_up: bool) -> None:
    """At the first attempt, and at the second; the third item does not run this time."""

    @task(retries=1)
    def shaky(x: int) -> int:
        ran.note(x)
        if x == 1 and not (ran.folder / "once").exists():
            (ran.folder / "once").touch()
            raise ValueError(x)
        return x

    @task
    def source(x: int) -> int:
        if x == 12:
            raise ValueError("gone")
        return x

    @flow(resumable=True)
    def main() -> int:
        found = shaky.map(source.map(range(10 * ran.mended, 10 * ran.mended + 3)))
        found.wait()
        if not ran.mended:
            raise ValueError("not yet")
        return len(found)

    run = fails(main)
    session = sessions.current()
    (map,) = [m for m in session.records.maps(run) if m.task == "shaky"]
    if given_up:  # by a driver between the two, which had begun to make it anew
        session.write([ItemRow(map.id, 0, 2, CANCELLED, "Cancelled")])
        session.flush_records()
    ran.mend()
    main.resume(run, return_state=True)
    found = [(view.attempt, view.state) for view in session.records.items(map.id)]
    assert found == [(3 if given_up else 2, "Completed"), (3, "Completed"), (1, "TriggerFailed")]


def test_attempts_count_on_where_a_driver_died_before_a_retry(runner: Any, ran: Ledger) -> None:
    """Else the end of the new driver's attempts, lower ones, would hide behind the wait of the old one."""

    @task(retries=1)
    def bad(x: int) -> int:
        raise ValueError(x)

    @flow(resumable=True)
    def main() -> list[int]:
        found: list[int] = bad.map([7]).result()
        return found

    run = fails(main)
    session = sessions.current()
    (map,) = session.records.maps(run)
    session.write([ItemRow(map.id, 0, n, AWAITING_RETRY, "AwaitingRetry") for n in (3, 4, 5)])  # and then kill -9
    session.flush_records()
    assert main.resume(run, return_state=True).is_failed()
    assert [(view.attempt, view.state) for view in session.records.items(map.id)] == [(7, "Failed")]
