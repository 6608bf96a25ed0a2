"""What a task of another process may ask: each request has an answer, and travels."""

from __future__ import annotations

import pickle
from dataclasses import fields
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.core import nested
from anabranch.core.errors import RunnerError
from anabranch.core.events import ASK, WAIT, WorkerRequest
from anabranch.driver.nested_requests import WorkerRequests

ABSTRACT = {nested.Request, nested.Submission}
FOUND = [kind for kind in vars(nested).values() if isinstance(kind, type) and issubclass(kind, nested.Request)]
REQUESTS = [kind for kind in FOUND if kind not in ABSTRACT]


def test_the_driver_has_an_answer_to_each() -> None:
    unused: Any = None
    served = WorkerRequests(*[unused] * 3)
    served.close()
    assert {name: kind for name, (kind, _) in served._answers.items()} == {kind.__name__: kind for kind in REQUESTS}


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_it_travels(kind: type[nested.Request[Any]]) -> None:
    given = [f"the {field.name}" for field in fields(kind)]  # type: ignore[arg-type]
    made = kind(*given)
    name, *parts = pickle.loads(pickle.dumps(made.parts(), 5))
    assert (name, kind(*parts)) == (kind.__name__, made)
    assert made.kind in (ASK, WAIT)


def test_a_runner_hears_of_those_that_wait_for_another_task() -> None:
    """On Dask they leave their place, which the other task may need; who waits for slots of a limit keeps it."""
    assert {kind.__name__ for kind in REQUESTS if kind.kind == WAIT} == {
        "AwaitEnd",
        "AwaitAny",
        "AwaitItems",
        "AwaitFed",
    }


class Driver:
    """Serves workers; `sent` has the chunks that have not ended."""

    def __init__(self, *sent: int) -> None:
        self.sent: dict[int, None] = dict.fromkeys(sent)
        self.answers: SimpleQueue[tuple[int, bool, Any]] = SimpleQueue()
        tables = SimpleNamespace(sent=self.sent)
        unused: Any = None
        pump: Any = SimpleNamespace(inspect=lambda look: look(), dispatcher=SimpleNamespace(tables=tables), runners=[])
        self.served = WorkerRequests(pump, unused, unused)

    def ask(self, turn: int) -> None:
        payload = pickle.dumps(("a scope", turn, [])) + pickle.dumps(nested.AskAgain().parts())
        self.served.put(0, WorkerRequest(1, 0, ASK, payload, lambda ok, said: self.answers.put((turn, ok, said))))


def test_a_thread_that_a_task_has_left_is_answered_after_the_end_of_its_chunk() -> None:
    """A stream that the garbage collector closes in a later task asks so: without an answer that task stands still."""
    driver = Driver()
    driver.ask(17)
    assert driver.answers.get(timeout=20) == (17, True, None)
    driver.ask(18)
    assert driver.answers.get(timeout=20) == (18, True, None)
    driver.served.close()


def test_a_request_of_a_finalizer_waits_for_no_other_one() -> None:
    driver = Driver(1)
    driver.ask(nested.AT_ONCE)
    assert driver.answers.get(timeout=20) == (nested.AT_ONCE, True, None)
    driver.served.close()


def test_a_request_whose_turn_never_came_is_answered_at_the_end_of_its_chunk() -> None:
    driver = Driver(1)
    driver.ask(1)
    driver.ask(0)
    assert [driver.answers.get(timeout=20)[0] for _ in range(2)] == [0, 1]
    driver.ask(3)
    driver.sent.clear()
    turn, ok, said = driver.answers.get(timeout=20)
    assert (turn, ok, type(said)) == (3, False, RunnerError)
    driver.served.close()
