"""The pump carries instructions out when it comes to them, which may be after other events."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from anabranch import InlineRunner
from anabranch.core import states
from anabranch.core.clock import SystemClock
from anabranch.core.instructions import AskHandlers, Pull
from anabranch.driver.callbacks import Callbacks
from anabranch.driver.pump import Pump


@pytest.fixture
def pump() -> Pump:
    return Pump(SystemClock(), Callbacks(lambda text: None), lambda rows: None, lambda lines, dropped: None)


@pytest.mark.parametrize("ended", [False, True])
def test_handlers_are_not_asked_about_a_run_that_was_cancelled_in_the_same_turn(pump: Pump, ended: bool) -> None:
    asked: list[AskHandlers] = []
    pump.callbacks.ask_handlers = asked.append  # type: ignore[assignment]
    pump.dispatcher.board.handlers_answered = lambda *answer: None  # type: ignore[method-assign]
    map: Any = SimpleNamespace(is_terminal=lambda index: ended)
    question = AskHandlers(map, 3, states.CRASHED, "lost", None)
    pump.outgoing._ask_handlers(question)
    pump.callback_thread.drain(20)
    assert asked == ([] if ended else [question])


class Closing:
    """A source that takes its time to close; a generator that two threads close at once raises."""

    exhausted = False

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.closers: list[str] = []

    def close(self) -> None:
        self.closers.append(threading.current_thread().name)
        self.entered.set()
        self.leave.wait(20)


def test_a_map_given_up_as_its_feeder_ends_is_closed_by_one_thread(pump: Pump) -> None:
    source = Closing()
    lane = pump.add_runner(InlineRunner())
    sending, inputs = SimpleNamespace(lane=lane), SimpleNamespace(source=source)
    map: Any = SimpleNamespace(
        id="m", sending=sending, spec=SimpleNamespace(name="double"), closed=True, inputs=inputs
    )
    pump.outgoing._pull(Pull(map, 100))  # it finds its map closed, and ends
    assert source.entered.wait(20)
    pump.outgoing._pull(Pull(map, 0))  # what closed the map says so as well
    time.sleep(0.05)
    assert len(source.closers) == 1
    source.leave.set()
    until = time.monotonic() + 20
    while pump.outgoing._feeders and time.monotonic() < until:
        time.sleep(0.005)
    assert not pump.outgoing._feeders


def test_what_was_brought_is_taken_when_settled(pump: Pump) -> None:
    """Another thread is at work, so `dispatch` leaves its event to it."""
    taken: list[int] = []
    at_it, go_on = threading.Event(), threading.Event()

    def work() -> None:
        at_it.set()
        go_on.wait(20)

    at_work = threading.Thread(target=lambda: pump.dispatch(work))
    at_work.start()
    assert at_it.wait(20)
    pump.dispatch(taken.append, 1)
    assert taken == []
    threading.Timer(0.05, go_on.set).start()
    pump.flush()
    assert taken == [1]
    at_work.join(20)


def test_who_interrupted_the_thread_at_work_does_not_wait_for_it(pump: Pump) -> None:
    """A signal's handler cancels something, on the very thread that is taking events in."""
    told: list[str] = []

    def interrupted() -> None:
        pump.dispatch(told.append, "cancelled")
        pump.flush()
        told.append("went on")

    pump.dispatch(interrupted)
    assert told == ["went on", "cancelled"]
