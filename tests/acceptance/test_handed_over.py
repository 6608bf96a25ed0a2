"""Arguments are what they were when they were handed over, on workers elsewhere; results are each reader's own."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from anabranch import flow, task, unmapped
from anabranch import session as sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


@task
def first(value: Any, other: Any = None) -> Any:
    return next(iter(value)) if not isinstance(value, Box) else value.content[0]


@task
def behind(gate: Any, value: Any, **more: Any) -> Any:
    return next(iter(value)), next(iter(more["again"]))


@task
def wait_at(gate: Any) -> int:
    gate.wait()
    return 1


@task
def same(value: Any) -> Any:
    return value


@task
def outer() -> list[Any]:
    value = [0]
    futures = []
    for n in range(5):
        value[0] = n
        futures.append(first.submit(value))
    listed = [[n] for n in range(5)]
    mapped = first.map(listed)
    for one in listed:
        one[0] = -1
    given = first.map(reused(5))
    return [*(future.result() for future in futures), *mapped.result(), *given.result()]


def reused(count: int) -> Iterator[list[int]]:
    """The same list again and again, as some readers give their rows."""
    row = [0]
    for n in range(count):
        row[0] = n
        yield row


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "list": (lambda: [1], lambda value: value.__setitem__(0, 2)),
    "dict": (lambda: {1: 0}, lambda value: value.pop(1)),
    "deque": (lambda: deque([1]), lambda value: value.appendleft(2)),
    "bytearray": (lambda: bytearray(b"\1"), lambda value: value.__setitem__(0, 2)),
    "array": (lambda: np.ones(10_000), lambda value: value.__setitem__(0, 2)),
    "object": (lambda: Box([1]), lambda value: value.content.__setitem__(0, 2)),
    "with a lambda": (lambda: [1, lambda: 1], lambda value: value.__setitem__(0, 2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_after_it_was_handed_over(apart: str, gates: Any, kind: str) -> None:
    make, change = KINDS[kind]
    gate = gates("open")

    @flow
    def main() -> list[Any]:
        one, two, three, four = make(), make(), [make() for _ in range(100)], make()
        slow = wait_at.submit(gate)
        found = [first.submit(one), first.map(three), first.map(range(1, 3), unmapped(four))]
        late = None if kind == "object" else behind.submit(slow, two, again=two)
        for value in (one, two, *three, four):
            change(value)
        gate.open()
        read = [found[0].result(), *found[1].result()]
        return [*read, *(late.result() if late is not None else ())]

    assert [value == 1 for value in main()] == [True] * (101 if kind == "object" else 103)


def test_a_constant_that_waits_for_a_value(apart: str, gates: Any) -> None:
    gate = gates("open")

    @task
    def read(n: int, constant: Any) -> Any:
        return constant["list"][0] + constant["value"] + n

    @flow
    def main() -> Any:
        constant = {"list": [1], "value": wait_at.submit(gate)}
        found = read.map(range(3), unmapped(constant))
        constant["list"][0] = 100
        gate.open()
        return found.result()

    assert main() == [2, 3, 4]


def test_an_iterator_that_gives_one_object_again_and_again(apart: str) -> None:
    @flow
    def main() -> Any:
        return first.map(reused(500)).result()

    assert main() == list(range(500))


def test_lists_of_futures_and_what_is_beside_them(apart: str) -> None:
    @flow
    def main() -> Any:
        rows = [[n, same.submit(n)] for n in range(20)]
        found = first.map(rows)
        for row in rows:
            row[0] = -1
        return found.result()

    assert main() == list(range(20))


def test_what_a_task_submits(apart: str) -> None:
    @flow
    def main() -> Any:
        return outer.submit().result()

    assert main() == [*range(5)] * 3


def test_variables_around_a_task_that_are_bound_anew(apart: str) -> None:
    """As a loop does: the task has each value that was bound when it was submitted or mapped."""
    step = 0

    @task
    def closes() -> int:
        return step

    @flow
    def main() -> Any:
        nonlocal step
        futures = []
        for step in range(3):  # noqa: B007
            futures.append(closes.submit())
        waited = []
        for step in range(3, 6):  # noqa: B007
            waited.append(closes.submit().result())
        step = 7
        return [future.result() for future in futures], waited, [closes.submit().result(), closes()]

    assert main() == ([0, 1, 2], [3, 4, 5], [7, 7])


def test_threads_share_objects(threads: str, gates: Any) -> None:
    gate = gates("open")

    @flow
    def main() -> Any:
        value = [1]
        late = behind.submit(wait_at.submit(gate), value, again=value)
        value[0] = 2
        gate.open()
        return late.result()

    assert main() == (2, 2)


@pytest.mark.parametrize("value", [[1], {"a": [1]}, {1}, ([1],), bytearray(b"a")], ids=str)
def test_a_result_that_its_first_reader_changes(apart: str, value: Any) -> None:
    @flow
    def main() -> None:
        one, many = same.submit(value), same.map([value] * 3)
        for found in (one.result(), many[0].result()):
            inner = found["a"] if isinstance(found, dict) else found[0] if isinstance(found, tuple) else found
            getattr(inner, "append", getattr(inner, "add", None))(7)
        assert one.result() == value
        assert many.result() == [value] * 3
        assert same.submit(one).result() == value
        assert same.map(many).result() == [value] * 3

    main()
    assert sessions.current() is not None
