"""A background task of Prefect's belongs to nobody: not to the flow, and not to the task that has sent it."""

from __future__ import annotations

import threading
from typing import Any

import anabranch.compat.prefect as prefect


def test_the_end_of_a_task_does_not_cancel_what_it_has_sent() -> None:
    opened = threading.Event()
    sent: list[Any] = []

    @prefect.task
    def audit() -> str:
        opened.wait(30)
        return "kept"

    @prefect.task(timeout_seconds=3)
    def order() -> None:
        sent.append(audit.delay())
        opened.wait(30)

    @prefect.flow
    def orders() -> None:
        order.submit().wait()

    orders(return_state=True)
    opened.set()
    assert sent[0].result() == "kept"


def test_tasks_sent_by_many_runs_are_one_series() -> None:
    """What is outside of flows is never forgotten: a series for each sender would be kept for good."""
    sent: list[Any] = []

    @prefect.task
    def audit(number: int) -> int:
        return number

    @prefect.task
    def order(number: int) -> None:
        sent.append(audit.delay(number))

    @prefect.flow
    def orders() -> None:
        for number in range(3):
            order.submit(number).wait()

    orders()
    assert [one.result() for one in sent] == [0, 1, 2]
    assert len({one._map.id for one in sent}) == 1
