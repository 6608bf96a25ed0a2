"""The slots of a program's own order while its flow waits for others: told in the background, until it is heard."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import UnreachableError
from anabranch.core.orders import Order
from anabranch.serving import lending
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Claims:
    """Notes what is lent; the first words are lost while `away`."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, bool]] = []
        self.away = 0

    def lend(self, run: str, token: int, lent: bool) -> bool:
        if self.away:
            self.away -= 1
            raise UnreachableError("no answer")
        self.heard.append((run, token, lent))
        return True


@pytest.fixture
def claims() -> Iterator[Claims]:
    found = Claims()
    service: Any = SimpleNamespace(claims=found)
    lending.drive(service, Order("r", "d", token=7))
    yield found
    lending._begin_anew()


def test_it_lends_from_the_first_that_waits_to_the_last(claims: Claims) -> None:
    with lending.waits():
        until(lambda: claims.heard == [("r", 7, True)])
        with lending.waits():
            pass
        assert claims.heard == [("r", 7, True)]
    until(lambda: claims.heard[1:] == [("r", 7, False)])


def test_it_tells_until_it_is_heard(claims: Claims) -> None:
    assert lending._own is not None
    lending._own._again = 0.01
    claims.away = 3
    with lending.waits():
        until(lambda: claims.heard == [("r", 7, True)])
        claims.away = 3
    until(lambda: claims.heard[1:] == [("r", 7, False)])
    assert claims.away == 0


@pytest.mark.parametrize("error", [UnreachableError("no answer"), ValueError("no JSON: a proxy answered")])
def test_a_word_whose_answer_was_lost_is_taken_back(claims: Claims, error: Exception) -> None:
    """The service may have heard it: the flow goes on before it is told again, and its slots are not lent."""
    assert lending._own is not None
    lending._own._again = 0.01
    heard, lost = claims.lend, threading.Event()

    def answer_lost(*given: Any) -> bool:
        heard(*given)
        if lost.is_set():
            return True
        lost.wait(60)  # until the flow goes on
        raise error

    claims.lend = answer_lost  # type: ignore[method-assign]
    with lending.waits():
        until(lambda: claims.heard == [("r", 7, True)])
    lost.set()
    until(lambda: claims.heard[-1] == ("r", 7, False))


def test_a_wait_that_fails_is_over(claims: Claims) -> None:
    def flow() -> None:
        with lending.waits():
            until(lambda: claims.heard)
            raise ValueError("a flow of its own")

    with pytest.raises(ValueError, match="a flow of its own"):
        flow()
    until(lambda: claims.heard[1:] == [("r", 7, False)])


def test_nobody_waits_for_the_telling(claims: Claims) -> None:
    """The flow goes on while the service does not answer."""
    gate = threading.Event()
    heard = claims.lend

    def slow(*given: Any) -> bool:
        gate.wait(60)
        return heard(*given)

    claims.lend = slow  # type: ignore[method-assign]
    with lending.waits():
        pass
    assert claims.heard == []
    gate.set()
    with lending.waits():
        until(lambda: claims.heard and claims.heard[-1][2])


def test_a_program_without_an_order_and_a_forked_copy_lend_nothing(claims: Claims) -> None:
    child = os.fork()
    if child == 0:
        with lending.waits():
            os._exit(0 if lending._own is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    lending._begin_anew()
    with lending.waits():
        pass
    assert claims.heard == []
