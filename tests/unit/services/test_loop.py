"""The thread of the services: who steps, when, and what errors do to it. Time is the test's; one test has a thread."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import RecordsError
from anabranch.services.loop import AWAY, LEASE, REAP, ReapStep, Services
from anabranch.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 30.0


class Place:
    """A service with one lease and a clock; `away` makes it raise."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.away = False
        self.holder, self.until = "", 0.0
        self.upkeep: Any = SimpleNamespace(lease=self.lease, now=self.clock.time)

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        if self.away:
            raise RecordsError("the database is away")
        if holder != self.holder and self.until > self.clock.time():
            return False
        self.holder, self.until = holder, self.clock.time() + seconds
        return True

    def services(self, **steps: Callable[[float], float]) -> Services:
        service: Any = self
        return Services(service, clock=self.clock, steps=steps)


def noted(into: list[float], wait: float = 1.0) -> Callable[[float], float]:
    def step(now: float) -> float:
        into.append(now)
        return wait

    return step


def test_steps_are_taken_when_they_are_due() -> None:
    place, often, rarely = Place(), [], []
    services = place.services(often=noted(often, 0.5), rarely=noted(rarely, 2.0))
    for _ in range(8):
        place.clock.advance(services.turn())
    assert often == [1000.0 + number / 2 for number in range(8)]
    assert rarely == [1000.0, 1002.0]


def test_a_sleep_is_a_second_at_most_and_none_where_more_is_to_do() -> None:
    place = Place()
    assert place.services(idle=noted([], 60.0)).turn() == 1.0
    assert Place().services(busy=noted([], 0.0)).turn() == 0.0


def test_one_of_two_steps_and_the_other_follows_when_the_lease_ends() -> None:
    place, first, second = Place(), [], []
    one, two = place.services(step=noted(first)), place.services(step=noted(second))
    for _ in range(20):
        one.turn(), two.turn()
        place.clock.advance(1.0)
    assert (one.leads, two.leads, len(first), second) == (True, False, 20, [])
    for _ in range(14):  # the first is gone without a word
        two.turn()
        place.clock.advance(1.0)
    assert two.leads
    assert second[0] <= 1020.0 + LEASE
    one.turn()
    assert not one.leads
    assert len(first) == 20


def test_a_stop_gives_the_lease_back() -> None:
    place, steps = Place(), []
    one, two = place.services(step=noted([])), place.services(step=noted(steps))
    one.turn()
    one.stop()
    two.turn()
    assert two.leads
    assert steps == [1000.0]


def test_errors_put_a_step_off_are_told_once_and_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    place, healthy = Place(), []
    broken = True

    def shaky(now: float) -> float:
        if broken:
            raise RecordsError("locked")
        return 1.0

    services = place.services(shaky=shaky, healthy=noted(healthy))
    with caplog.at_level(logging.WARNING, "anabranch.services"):
        for _ in range(30):
            services.turn()
            place.clock.advance(1.0)
        assert [record.message for record in caplog.records] == [
            "the step 'shaky' of the services failed, and is tried again: RecordsError: locked"
        ]
        assert len(healthy) == 30
        broken = False
        place.clock.advance(5.0)
        services.turn()
        broken = True
        place.clock.advance(5.0)
        services.turn()
    assert len(caplog.records) == 2


def test_a_database_that_is_away_ends_nothing_and_takes_the_lead_away() -> None:
    place, steps = Place(), []
    services = place.services(step=noted(steps))
    services.turn()
    place.away = True
    for _ in range(20):
        place.clock.advance(1.0)
        services.turn()
    assert not services.leads
    place.away = False
    place.clock.advance(5.0)
    services.turn()
    assert services.leads
    assert steps[-1] == place.clock.time()


def test_the_thread_steps_wakes_early_and_ends() -> None:
    place, taken = Place(), threading.Semaphore(0)

    def step(now: float) -> float:
        taken.release()
        return 3600.0

    services = place.services(step=step)
    services.start()
    services.start()
    assert taken.acquire(timeout=WAIT)
    for _ in range(3):  # its clock stands still, so that nothing else makes the step due
        services.wake()
        assert taken.acquire(timeout=WAIT)
    services.stop()
    assert [thread for thread in threading.enumerate() if thread.name == "anabranch-services"] == []
    assert place.until <= place.clock.time()


def test_a_stop_waits_for_the_step_that_is_under_way() -> None:
    place, inside, gate, left = Place(), threading.Event(), threading.Event(), threading.Event()

    def step(now: float) -> float:
        inside.set()
        gate.wait(WAIT)
        left.set()
        return 1.0

    services = place.services(step=step)
    services.start()
    assert inside.wait(WAIT)
    stopper = threading.Thread(target=services.stop)
    stopper.start()
    gate.set()
    stopper.join(WAIT)
    assert left.is_set()
    assert not stopper.is_alive()


def test_the_silence_of_drivers_counts_from_when_they_could_be_heard() -> None:
    """A server that was away, a database that did not answer, a machine that slept: nobody is dead for that."""
    heard: list[float] = []
    step = ReapStep(SimpleNamespace(upkeep=SimpleNamespace(reap=heard.append)))  # type: ignore[arg-type]
    for now in (1000.0, 1005.0, 1010.0):
        assert step(now) == REAP
    assert heard == [1000.0] * 3
    step(1010.0 + AWAY + 1)
    step(1010.0 + AWAY + 6)
    assert heard[3:] == [1010.0 + AWAY + 1] * 2


def test_a_database_that_does_not_answer_counts_as_nobody_there() -> None:
    heard: list[float] = []

    def reap(since: float) -> None:
        if away:
            raise RecordsError("the database is away")
        heard.append(since)

    away, step = False, ReapStep(SimpleNamespace(upkeep=SimpleNamespace(reap=reap)))  # type: ignore[arg-type]
    step(1000.0)
    away = True
    for now in range(1005, 1100, 5):
        with pytest.raises(RecordsError):
            step(float(now))
    away = False
    step(1100.0)
    assert heard == [1000.0, 1100.0]
