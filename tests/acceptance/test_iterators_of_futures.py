"""Iterators over futures among the arguments of runs: each is read once, and what it gave lives until it was read."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import allow_failure, flow, quote, task, unmapped
from anabranch.driver.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 60.0


@task
def same(x: Any) -> Any:
    return x


@task
def listed(x: Any) -> list[Any]:
    return list(x)


@task
def pair(x: Any, y: Any) -> tuple[Any, Any]:
    return x, list(y)


@task
def inside(x: Any) -> list[Any]:
    return list(x["k"])


def two() -> tuple[Any, Any]:
    """Two maps that have ended, held by nobody else."""
    a, b = same.map([1, 2]), same.map([3, 4])
    a.wait(WAIT)
    b.wait(WAIT)
    return a, b


def zipped() -> Any:
    return zip(*two(), strict=True)


def quoted() -> Any:
    return [iter([5]), quote(iter([6]))]


ZIPPED = [(1, 3), (2, 4)]
GIVEN: dict[str, tuple[Callable[[], Any], Any]] = {
    "submit": (lambda: listed.submit(zipped()), ZIPPED),
    "submit by name": (lambda: listed.submit(x=zipped()), ZIPPED),
    "in a dict": (lambda: inside.submit({"k": enumerate(two()[0])}), [(0, 1), (1, 2)]),
    "elements of a list": (lambda: listed.map([zipped(), iter([*two()[1]])]), [ZIPPED, [3, 4]]),
    "in elements of a list": (lambda: inside.map([{"k": zipped()}]), [ZIPPED]),
    "elements of an iterator": (lambda: listed.map(zipped() for _ in range(3)), [ZIPPED] * 3),
    "in elements of an iterator": (lambda: inside.map({"k": zipped()} for _ in range(2)), [ZIPPED] * 2),
    "beside an iterator": (lambda: pair.map((x for x in "xy"), [zipped(), zipped()]), [("x", ZIPPED), ("y", ZIPPED)]),
    "shared": (lambda: pair.map([1, 2], unmapped(zipped())), [(1, ZIPPED), (2, ZIPPED)]),
    "shared, in a list": (lambda: pair.map([1], unmapped([zipped()])), [(1, [ZIPPED])]),
    "shared by futures": (lambda: pair.map([*two()[0]], unmapped(zipped())), [(1, ZIPPED), (2, ZIPPED)]),
    "shared by an iterator": (lambda: pair.map(iter("xy"), unmapped(zipped())), [("x", ZIPPED), ("y", ZIPPED)]),
    "shared, may fail": (lambda: pair.map([1], unmapped(allow_failure(zipped()))), [(1, ZIPPED)]),
    "without futures": (lambda: listed.map(quoted()), [[5], [6]]),
}  # fmt: skip


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each event all earlier ones are taken in: another thread may be that fast, and lets go of what is dead."""

    def after_all(bring: Callable[..., None]) -> Callable[..., None]:
        def late(self: Pump, move: Callable[..., Any], *args: Any) -> None:
            if self.owner != get_ident() or not self._lock.locked():
                self.inspect(lambda: None)
            bring(self, move, *args)

        return late

    monkeypatch.setattr(Pump, "enqueue", after_all(Pump.enqueue))
    monkeypatch.setattr(Pump, "dispatch", after_all(Pump.dispatch))


@pytest.mark.parametrize("kind", GIVEN)
def test_its_values_are_there_for_all_that_read_them(eager: None, concurrent: str, kind: str) -> None:
    make, expected = GIVEN[kind]

    @flow
    def main() -> Any:
        return make().result(WAIT)

    assert main() == expected


def test_its_values_are_there_on_every_runner(runner: str) -> None:
    @flow
    def main() -> Any:
        return {kind: make().result(WAIT) for kind, (make, _) in GIVEN.items()}

    assert main() == {kind: expected for kind, (_, expected) in GIVEN.items()}


def test_its_values_are_there_for_what_a_task_submits(runner: str) -> None:
    @task
    def outer() -> Any:
        return {kind: make().result(WAIT) for kind, (make, _) in GIVEN.items()}

    @flow
    def main() -> Any:
        return outer.submit().result(WAIT)

    assert main() == {kind: expected for kind, (_, expected) in GIVEN.items()}


ITERABLES: dict[str, Callable[[Any], Any]] = {
    "list": lambda f: [f],
    "iter": lambda f: iter([f]),
    "generator": lambda f: (one for one in [f]),
    "map": lambda f: map(list, [[f]]),
    "values": lambda f: {"a": f}.values(),
    "set": lambda f: {f},
}


def behind(first: Any, give: Callable[[Any], Any]) -> dict[str, list[str]]:
    """What becomes of runs that wait for a failed one, by the way in which they are begun."""
    two = same.map([1, 2])
    return {
        "submit": [same.submit(1, wait_for=give(first)).wait(WAIT).name],
        "call": [same(1, wait_for=give(first), return_state=True).name],
        "map": [state.name for state in same.map([1, 2], wait_for=give(first)).wait(WAIT)],
        "map over futures": [state.name for state in same.map([*two], wait_for=give(first)).wait(WAIT)],
        "map over an iterator": [state.name for state in same.map(iter([1, 2]), wait_for=give(first)).wait(WAIT)],
    }


@pytest.mark.parametrize("kind", ITERABLES)
@pytest.mark.parametrize("where", ["flow", "task"])
def test_a_run_waits_for_what_any_iterable_gives(concurrent: str, where: str, kind: str) -> None:
    @task
    def fails() -> None:
        raise ValueError("first")

    @task
    def outer() -> dict[str, list[str]]:
        return behind(fails.submit(), ITERABLES[kind])

    @flow
    def main() -> Any:
        return outer.submit().result(WAIT) if where == "task" else behind(fails.submit(), ITERABLES[kind])

    found = main()
    assert [way for way, names in found.items() if set(names) != {"TriggerFailed"}] == []
    assert len(found) == 5


def test_a_map_with_a_key_reads_it_once(threads: str) -> None:
    """The key is made of the futures in it, before the map is."""
    a = same.map([1, 2])
    first = same.map(iter(a), run_key="iterator")
    assert first.result(WAIT) == [1, 2]
    assert same.map(iter(a), run_key="iterator") is first
    assert listed.map([iter(a)], run_key="iterators").result(WAIT) == [[1, 2]]


def test_an_iterator_given_twice_has_its_elements_in_both_places() -> None:
    @task
    def both(x: int, one: Any, other: Any) -> Any:
        return x, list(one), list(other)

    @flow(runner="thread")
    def run() -> Any:
        given = iter([same.submit(1), same.submit(2)])
        return both.map([0, 1], one=unmapped(given), other=unmapped(given)).result()

    assert run() == [(0, [1, 2], [1, 2]), (1, [1, 2], [1, 2])]
