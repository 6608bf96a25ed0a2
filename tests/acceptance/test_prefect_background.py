"""A background task of Prefect's belongs to nobody: not to the flow, and not to the task that has sent it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import anabranch.compat.prefect as prefect

PROGRAM = """
import os, signal, threading
import anabranch.compat.prefect
from prefect import flow, task

@task
def endless():
    threading.Event().wait()

@flow
def told_to_end():
    endless.delay()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(60)

told_to_end()
"""


def test_a_program_that_was_told_to_end_does_not_wait_for_its_background_tasks() -> None:
    environ = {**os.environ, "ANABRANCH_SHUTDOWN_GRACE": "0.2"}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, timeout=50, check=False, capture_output=True)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr


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
