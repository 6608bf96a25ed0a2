"""The time of a database server, as a machine with a wrong clock has it."""

from __future__ import annotations

import pytest

from anabranch.core.errors import RecordsError
from anabranch.records.server_clock import FRESH, ServerClock
from anabranch.testing import ManualClock

NOW = 1_800_000_000.0


class Machine(ManualClock):
    """A machine of which somebody may set the clock."""

    set_by = 0.0

    def time(self) -> float:
        return super().time() + self.set_by


class Server:
    """A server with the right time; each answer takes as long as `delays` says, half of it on the way there."""

    def __init__(self, machine: Machine) -> None:
        self.ahead = NOW - machine.time()
        self.machine = machine
        self.delays: list[float] = []
        self.asked = 0
        self.away = False

    def __call__(self) -> float:
        self.asked += 1
        if self.away:
            raise RecordsError("away")
        delay = self.delays.pop(0) if self.delays else 0.0
        self.machine.advance(delay / 2)
        told = self.machine.time() - self.machine.set_by + self.ahead
        self.machine.advance(delay / 2)
        return told


@pytest.fixture
def machine() -> Machine:
    return Machine(NOW - 30)


def test_the_servers_time_goes_on_by_this_machines_monotonic_clock(machine: Machine) -> None:
    server = Server(machine)
    clock = ServerClock(server, machine)
    assert clock.time() == NOW
    machine.advance(FRESH - 1)
    assert (clock.time(), server.asked) == (NOW + FRESH - 1, 1)
    machine.advance(2)
    server.ahead += 5  # somebody has set the server's clock
    assert (clock.time(), server.asked) == (NOW + FRESH + 6, 2)


def test_the_quickest_of_slow_answers_counts(machine: Machine) -> None:
    server = Server(machine)
    server.delays = [4.0, 1.0, 2.0]
    assert ServerClock(server, machine).time() == pytest.approx(machine.time() + 30)
    assert server.asked == 3


def test_a_clock_that_is_set_here_has_the_server_asked_again(machine: Machine) -> None:
    server = Server(machine)
    clock = ServerClock(server, machine)
    assert clock.time() == NOW
    machine.set_by = 3600.0
    assert [clock.time() for _ in range(3)] == [NOW] * 3
    assert server.asked == 2


def test_a_server_that_is_away_is_asked_once_in_a_while(machine: Machine) -> None:
    server = Server(machine)
    server.away = True
    clock = ServerClock(server, machine)
    with pytest.raises(RecordsError, match="away"):
        clock.time()
    server.away = False
    assert clock.time() == NOW
    server.away = True
    machine.advance(FRESH + 1)
    assert [clock.time() for _ in range(3)] == [NOW + FRESH + 1] * 3
    assert server.asked == 3
