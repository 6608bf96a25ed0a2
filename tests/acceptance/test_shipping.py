"""A task's function is shipped once: counted is what the runner was given, and how often it was pickled."""

from __future__ import annotations

import os
from typing import Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core.task_spec import TaskSpec

MANY = 1000
IN_PROCESS = ("inline", "thread")


class Baggage:
    """Something that a function holds, and that writes down when it is pickled and unpickled."""

    def __init__(self, marks: Any) -> None:
        self.marks = marks

    def __reduce__(self) -> Any:
        self.marks.add("pickled")
        return unpacked, (self.marks,)


def unpacked(marks: Any) -> Baggage:
    marks.add(f"unpickled {os.getpid()}")
    return Baggage(marks)


@pytest.fixture
def counted(runner: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Any]]:
    """The kind of a runner, and all that it is given by `put` from now on."""
    session = sessions.current()
    flow(name="first")(lambda: task(lambda: 1).submit())()  # the runner is there, and its workers are up
    shared = session.runners.known[id(session.settings.runner)]
    given: list[Any] = []
    put = shared.runner.put

    def counting(shared_id: int, value: Any) -> None:
        given.append(value)
        put(shared_id, value)

    monkeypatch.setattr(shared.runner, "put", counting)
    return runner, given


def carrying(marks: Any) -> Any:
    baggage = Baggage(marks)

    @task
    def work(n: int) -> int:
        assert baggage is not None
        return n

    return work


def check(kind: str, given: list[Any], marks: Any) -> None:
    specs = [value for value in given if isinstance(value, TaskSpec)]
    assert [spec.name for spec in specs] == ["work"], "its function was given to the runner once"
    lines = marks.read()
    pickled, unpickled = lines.count("pickled"), [line for line in lines if line.startswith("unpickled")]
    if kind in IN_PROCESS:
        assert lines == [], "nothing is pickled where all is one process"
        return
    assert pickled == 1
    assert 1 <= len(unpickled) <= 2, "no runner of these has more than two workers"
    assert len(set(unpickled)) == len(unpickled), "each worker unpickles it once"


def test_once_for_a_map(counted: tuple[str, list[Any]], marks: Any) -> None:
    work = carrying(marks)

    @flow
    def main() -> list[int]:
        found: list[int] = work.map(range(MANY)).result()
        return found

    assert main() == list(range(MANY))
    check(*counted, marks)


def test_once_for_many_maps(counted: tuple[str, list[Any]], marks: Any) -> None:
    """In flow runs of their own, as long as the session lives."""
    work = carrying(marks)

    @flow
    def main() -> Any:
        return work.map(range(4), chunk=1)

    for _ in range(5):
        assert main() == list(range(4))
    check(*counted, marks)


def test_once_for_a_thousand_submits(counted: tuple[str, list[Any]], marks: Any) -> None:
    work = carrying(marks)

    @flow
    def main() -> list[int]:
        return [future.result() for future in [work.submit(n) for n in range(MANY)]]

    assert main() == list(range(MANY))
    check(*counted, marks)
    assert len(counted[1]) < 10, "nor is anything else given per submit"


def test_what_all_items_share_is_shipped_once(counted: tuple[str, list[Any]], marks: Any) -> None:
    @task
    def work(n: int, shared: Any) -> int:
        return n

    @flow
    def main() -> Any:
        return work.map(range(MANY), Baggage(marks))

    assert main() == list(range(MANY))
    kind, given = counted
    assert len([value for value in given if isinstance(value, TaskSpec)]) == 1
    lines = marks.read()
    assert lines.count("pickled") <= (0 if kind in IN_PROCESS else 1)
    unpickled = [line for line in lines if line.startswith("unpickled")]
    assert len(set(unpickled)) == len(unpickled) <= 2
