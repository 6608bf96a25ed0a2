"""Calls of several threads that are answered together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RecordsError
from anabranch.records.service.joining import Joining
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = 60.0  # seconds that a test waits for what comes at once


class Doubling:
    """Answers with twice the question, at a gate that a test holds; keeps what was asked together."""

    def __init__(self) -> None:
        self.turns: list[list[int]] = []
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.error: BaseException | None = None

    def __call__(self, questions: Sequence[int]) -> list[int]:
        self.turns.append(list(questions))
        self.begun.set()
        assert self.gate.wait(LONG)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return [2 * one for one in questions]


def waiting(joining: Joining[int, int], count: int) -> None:
    until(lambda: len(joining._waiting) >= count)


def test_what_comes_while_one_is_answered_is_answered_together() -> None:
    doubling = Doubling()
    joining = Joining(doubling)
    with ThreadPoolExecutor(10) as threads:
        first = threads.submit(joining.ask, 0)
        assert doubling.begun.wait(LONG)
        others = [threads.submit(joining.ask, n) for n in range(1, 10)]
        waiting(joining, 9)
        doubling.gate.set()
        assert [one.result(LONG) for one in (first, *others)] == [2 * n for n in range(10)]
    assert [len(turn) for turn in doubling.turns] == [1, 9]
    assert joining.ask(21) == 42, "and nobody is in the way of the next one"


def test_an_error_is_told_to_those_that_asked_together_and_to_no_others() -> None:
    doubling = Doubling()
    joining = Joining(doubling)
    doubling.error = RecordsError("away")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(joining.ask, 1)
        assert doubling.begun.wait(LONG)
        second = threads.submit(joining.ask, 2)
        waiting(joining, 1)
        doubling.gate.set()
        assert second.result(LONG) == 4
        with pytest.raises(RecordsError, match="away"):
            first.result(LONG)


def test_an_interrupt_ends_the_thread_that_has_the_turn_and_not_the_others() -> None:
    doubling = Doubling()
    joining = Joining(doubling)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(joining.ask, 1)
        assert doubling.begun.wait(LONG)
        others = [threads.submit(joining.ask, n) for n in (2, 3)]
        waiting(joining, 2)
        doubling.error = KeyboardInterrupt()
        doubling.gate.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(LONG)
        assert [one.result(LONG) for one in others] == [4, 6]


def test_a_thread_that_is_interrupted_while_it_waits_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    doubling = Doubling()
    joining = Joining(doubling)
    wait = threading.Event.wait

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        found = wait(event, timeout)
        if threading.current_thread().name == "interrupted":
            raise KeyboardInterrupt
        return found

    def ask() -> None:
        with pytest.raises(KeyboardInterrupt):
            joining.ask(2)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(joining.ask, 1)
        assert doubling.begun.wait(LONG)
        second = threading.Thread(target=ask, name="interrupted")
        with monkeypatch.context() as stopped:
            stopped.setattr(threading.Event, "wait", interrupted)
            second.start()
            waiting(joining, 1)
            third = threads.submit(joining.ask, 3)
            waiting(joining, 2)
            doubling.gate.set()
            assert first.result(LONG) == 2
            second.join(LONG)
        assert third.result(LONG) == 6


def test_a_forked_copy_waits_for_no_thread_of_its_parent() -> None:
    doubling = Doubling()
    joining = Joining(doubling)
    with ThreadPoolExecutor(1) as threads:
        theirs = threads.submit(joining.ask, 1)
        assert doubling.begun.wait(LONG)
        joining.let_go()
        doubling.gate.set()
        assert joining.ask(3) == 6
        assert theirs.result(LONG) == 2
