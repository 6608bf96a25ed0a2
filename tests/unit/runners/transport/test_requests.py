"""Requests of a task and their answers: each finds its own, and what cannot be pickled is said to the task."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from anabranch.core.errors import RunnerError, SerializationError
from anabranch.runners.transport.requests import Requests, answering, encoded, opened

WAIT = 30.0


class Breaks:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def answered(good: bool, payload: Any) -> Any:
    """Ask, and be answered by a driver in the same thread."""
    requests = Requests()

    def send(number: int) -> None:
        answering(lambda good, data: requests.reply(number, good, data))(good, payload)

    return requests.ask(send)


def test_answers_and_errors_come_as_they_were_given() -> None:
    assert answered(True, [1, "two"]) == [1, "two"]
    with pytest.raises(KeyError, match="gone"):
        answered(False, KeyError("gone"))
    with pytest.raises(RunnerError, match="a mere text"):
        answered(False, "a mere text")


def test_an_answer_that_cannot_be_pickled_is_an_error_that_says_where() -> None:
    with pytest.raises(SerializationError, match=r"answer\['lock'\]"):
        answered(True, {"lock": threading.Lock()})


def test_answers_find_their_requests_in_any_order() -> None:
    requests, found = Requests(), {}
    numbers: dict[str, int] = {}
    both = threading.Barrier(3)

    def ask(name: str) -> None:
        def send(number: int) -> None:
            numbers[name] = number
            both.wait(WAIT)

        found[name] = requests.ask(send)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    both.wait(WAIT)
    for name in ("b", "a"):
        answering(lambda good, data, name=name: requests.reply(numbers[name], good, data))(True, name)  # type: ignore[misc]
    for thread in threads:
        thread.join(WAIT)
    assert found == {"a": "a", "b": "b"}


def test_one_that_has_no_patience_leaves_once_and_waits_on() -> None:
    requests, left = Requests(), []
    sent: list[int] = []

    def leave() -> None:
        left.append(True)
        answering(lambda good, data: requests.reply(sent[0], good, data))(True, "late")

    assert requests.ask(sent.append, 0.001, leave) == "late"
    assert left == [True]


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    Requests().reply(7, True, b"")


def test_a_payload_that_does_not_travel_is_refused_on_either_side() -> None:
    with pytest.raises(SerializationError, match="submit"):
        encoded("submit", threading.Lock())
    said: list[tuple[bool, Any]] = []
    assert opened("submit", encoded("submit", [1]), lambda good, payload: said.append((good, payload))) == ([1],)
    assert said == []
    assert opened("submit", encoded("submit", Breaks()), lambda good, payload: said.append((good, payload))) is None
    [(good, error)] = said
    assert not good
    assert "the request 'submit' does not unpickle in the driver: ValueError" in str(error)
