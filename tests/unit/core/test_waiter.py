"""Waits of the main thread are cut in slices: a signal that came just before one is handled after it."""

from __future__ import annotations

import threading

import pytest

from anabranch.core import waiter
from anabranch.core.waiter import LOOK_UP_SECONDS, Waiter, heeding_signals


class Waits:
    """Plays a wait: it is not over for so many times; knows how long it was asked to wait."""

    def __init__(self, fruitless: int) -> None:
        self.fruitless = fruitless
        self.asked: list[float | None] = []

    def __call__(self, seconds: float | None) -> bool:
        self.asked.append(seconds)
        return len(self.asked) > self.fruitless


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock says, one look after the other."""
    says: list[float] = []
    monkeypatch.setattr(waiter.time, "monotonic", lambda: says.pop(0))
    return says


@pytest.mark.parametrize("timeout", [None, 1000.0])
def test_the_main_thread_looks_up_while_it_waits(timeout: float | None) -> None:
    waits = Waits(3)
    assert heeding_signals(waits, timeout)
    assert waits.asked == [LOOK_UP_SECONDS] * 4


def test_other_threads_hear_no_signals_and_sleep_on() -> None:
    waits = Waits(0)
    thread = threading.Thread(target=heeding_signals, args=(waits, None))
    thread.start()
    thread.join()
    assert waits.asked == [None]


def test_what_is_left_of_the_time_is_waited_for_and_no_more(clock: list[float]) -> None:
    clock += [100.0, 100.5, 101.01]
    waits = Waits(3)
    assert not heeding_signals(waits, 1.25)
    assert waits.asked == [LOOK_UP_SECONDS, LOOK_UP_SECONDS, pytest.approx(0.24)]


def test_a_time_already_over_is_one_look() -> None:
    waits = Waits(1)
    assert not heeding_signals(waits, -1.0)
    assert waits.asked == [0.0]


def test_a_waiter_is_woken_once_by_the_first_of_several() -> None:
    waiter = Waiter()
    assert not waiter.wait(0)
    waiter.set()
    waiter.set()
    assert waiter.wait(None)
    assert not waiter.wait(0.001)
