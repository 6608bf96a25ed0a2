"""What a task of another process may ask: each request has an answer, and travels."""

from __future__ import annotations

import pickle
from dataclasses import fields
from typing import Any

import pytest

from anabranch.core import nested
from anabranch.core.events import ASK, WAIT
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
