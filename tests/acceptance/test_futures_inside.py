"""Futures wherever they are put: in iterators, containers and what tasks return; tasks and callers get values."""

from __future__ import annotations

import collections
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import allow_failure, flow, quote, task, unmapped
from anabranch.driver.feeder import Feeder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 60.0


@dataclass
class Data:
    x: Any


@task
def same(x: Any) -> Any:
    return x


@task
def bad(x: Any) -> Any:
    raise ValueError(f"bad {x}")


@task
def listed(x: Any) -> list[Any]:
    return list(x)


@task
def pair(x: Any, y: Any) -> tuple[Any, Any]:
    return x, y


@task
def type_of(x: Any) -> str:
    return type(x).__name__


def submitted(n: int) -> Iterator[Any]:
    for x in range(n):
        yield same.submit(x)


ITERATORS: dict[str, tuple[Callable[[Any, Any], Any], list[Any]]] = {
    "zip": (lambda a, b: zip(a, b, strict=True), [(1, 3), (2, 4)]),
    "enumerate": (lambda a, b: enumerate(a), [(0, 1), (1, 2)]),
    "generator": (lambda a, b: (f for f in a), [1, 2]),
    "iter(futures)": (lambda a, b: iter(a), [1, 2]),
    "iter(list)": (lambda a, b: iter([a[0], b[1], 5]), [1, 4, 5]),
    "iter(tuple)": (lambda a, b: iter((a[0], [b[1]])), [1, [4]]),
    "reversed": (lambda a, b: reversed([*a]), [2, 1]),
    "map": (lambda a, b: map(lambda *f: f, a, "xx"), [(1, "x"), (2, "x")]),
    "filter": (lambda a, b: filter(None, [a[0], None, b[0]]), [1, 3]),
    "dict's values": (lambda a, b: iter({"a": a[0], "b": b[0]}.values()), [1, 3]),
    "deque": (lambda a, b: iter(collections.deque([a[1], b[1]])), [2, 4]),
    "lists of a generator": (lambda a, b: (futures for futures in (a, b)), [[1, 2], [3, 4]]),
    "submits as it goes": (lambda a, b: submitted(5), [0, 1, 2, 3, 4]),
    "nested": (lambda a, b: enumerate(zip(a, b, strict=True)), [(0, (1, 3)), (1, (2, 4))]),
}


@pytest.mark.parametrize("kind", sorted(ITERATORS))
def test_an_iterator_of_futures_is_mapped_over(concurrent: str, kind: str) -> None:
    make, expected = ITERATORS[kind]

    @flow
    def main() -> Any:
        a, b = same.map([1, 2]), same.map([3, 4])
        return same.map(make(a, b)).result(WAIT)

    assert main() == expected


def test_iterators_of_futures_on_every_runner(runner: str) -> None:
    @flow
    def main() -> Any:
        a, b = same.map([1, 2]), same.map([3, 4])
        return {kind: list(same.map(make(a, b)).results()) for kind, (make, _) in ITERATORS.items()}

    assert main() == {kind: expected for kind, (_, expected) in ITERATORS.items()}


KNOWN_TO_END = (
    *("zip", "enumerate", "iter(futures)", "iter(list)", "iter(tuple)", "reversed", "dict's values", "deque", "nested"),
)


@pytest.mark.parametrize("way", ["call", "submit", "constant"])
def test_an_iterator_as_an_argument_gives_values(runner: str, way: str) -> None:
    def given(kind: str) -> Any:
        made = ITERATORS[kind][0](same.map([1, 2]), same.map([3, 4]))
        if way == "call":
            return listed(made)
        return listed.submit(made).result(WAIT) if way == "submit" else None

    @flow
    def main() -> Any:
        if way == "constant":
            a, b = same.map([1, 2]), same.map([3, 4])
            return {k: pair.map([0], unmapped([*ITERATORS[k][0](a, b)])).result(WAIT)[0][1] for k in KNOWN_TO_END}
        return {kind: given(kind) for kind in KNOWN_TO_END}

    assert main() == {kind: ITERATORS[kind][1] for kind in KNOWN_TO_END}


def test_an_iterator_as_an_argument_is_there_again_at_each_attempt(threads: str) -> None:
    seen: list[list[Any]] = []

    @task(retries=2)
    def takes(x: Any) -> list[Any]:
        seen.append(list(x))
        if len(seen) < 3:
            raise ValueError("once more")
        return seen[-1]

    a, b = same.map([1, 2]), same.map([3, 4])
    assert takes.submit(zip(a, b, strict=True)).result(WAIT) == [(1, 3), (2, 4)]
    assert seen == [[(1, 3), (2, 4)]] * 3


def test_an_iterator_without_futures_is_left_alone(threads: str) -> None:
    def endless() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    first = task(lambda x: next(x))
    for given in (endless(), zip(endless(), endless(), strict=False), enumerate(endless()), iter([0, 1])):
        assert task(lambda x: [x]).submit(given).result(WAIT)[0] is given
    assert first.submit(enumerate(endless())).result(WAIT) == (0, 0)


def test_an_endless_generator_of_futures_is_read_as_it_goes(concurrent: str) -> None:
    @flow
    def main() -> list[Any]:
        def endless() -> Iterator[Any]:
            n = 0
            while True:
                yield same.submit(n)
                n += 1

        found = []
        for value in same.map(endless()).results():
            found.append(value)
            if len(found) == 20:
                return found
        return []

    assert main() == list(range(20))


def test_futures_of_an_iterator_live_until_their_readers_are_known(
    concurrent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value of a future that died before that would go with it."""
    begin = Feeder.__init__
    given: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def watched(self: Feeder, map: Any, *, pulled: Callable[..., None], **more: Any) -> None:
        def sent_on(map: Any, items: list[Any], *told: Any) -> None:
            alive.extend(future() is not None for future in given[len(alive) : len(alive) + len(items)])
            pulled(map, items, *told)

        begin(self, map, pulled=sent_on, **more)

    @flow
    def main() -> list[int]:
        def one_by_one() -> Iterator[Any]:
            for n in range(20):
                future = same.submit(n)
                given.append(weakref.ref(future))
                yield future
                del future

        return same.map(one_by_one()).result(WAIT)

    monkeypatch.setattr(Feeder, "__init__", watched)
    assert main() == list(range(20))
    assert alive == [True] * 20


def test_a_failure_in_an_iterator_concerns_its_item_only(concurrent: str) -> None:
    @flow
    def main() -> Any:
        futures = same.map(bad.submit(x) if x % 2 else same.submit(x) for x in range(4))
        names = [state.name for state in futures.wait(WAIT)]
        admitted = type_of.map(allow_failure(bad.submit(x)) if x % 2 else same.submit(x) for x in range(4))
        whole = type_of.map(allow_failure(iter([bad.submit(1), same.submit(2)])))
        return names, admitted.result(WAIT), whole.result(WAIT)

    names, admitted, whole = main()
    assert names == ["Completed", "TriggerFailed", "Completed", "TriggerFailed"]
    assert admitted == ["int", "ValueError", "int", "ValueError"]
    assert whole == ["ValueError", "int"]


def test_an_iterator_that_raises_keeps_what_came_before(concurrent: str) -> None:
    def breaks() -> Iterator[Any]:
        yield same.submit(1)
        yield (same.submit(2), 3)
        raise LookupError("no more")

    @flow
    def main() -> Any:
        futures = same.map(breaks())
        with pytest.raises(LookupError, match="no more"):
            futures.result(WAIT)
        return [futures[0].result(WAIT), futures[1].result(WAIT)]

    assert main() == [1, (2, 3)]


def test_an_iterator_beside_other_arguments(concurrent: str) -> None:
    @flow
    def main() -> Any:
        a = same.map([1, 2])
        return [
            pair.map(a, iter([5, 6])).result(WAIT),
            pair.map(iter([a[1], 7]), a).result(WAIT),
            pair.map([a[0], a[1]], (x for x in "xy")).result(WAIT),
            pair.map((f for f in a), unmapped(a)).result(WAIT),
        ]

    assert main() == [[(1, 5), (2, 6)], [(2, 1), (7, 2)], [(1, "x"), (2, "y")], [(1, [1, 2]), (2, [1, 2])]]


NESTED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "zip": (lambda a: same.map(zip(a, [5, 6], strict=True)), [(1, 5), (2, 6)]),
    "submits as it goes": (lambda a: same.map(submitted(3)), [0, 1, 2]),
    "an argument": (lambda a: listed.submit(zip(a, [3, 4], strict=True)), [(1, 3), (2, 4)]),
    "an argument in a dict": (lambda a: task(lambda x: [*x["a"]]).submit({"a": enumerate(a)}), [(0, 1), (1, 2)]),
    "a called task's": (lambda a: listed(enumerate(a)), [(0, 1), (1, 2)]),
    "allowed to fail": (lambda a: type_of.map(allow_failure(bad.submit(x) for x in range(2))), ["ValueError"] * 2),
    "quoted": (lambda a: same.map(quote(iter([1, [2]]))), [1, [2]]),
    "marks": (lambda a: same.map([quote(1), a[0]]), [1, 1]),
    "beside a list": (lambda a: pair.map(a, iter([5, 6])), [(1, 5), (2, 6)]),
}


def test_iterators_of_futures_in_tasks(runner: str) -> None:
    @task
    def outer(kind: str) -> Any:
        return NESTED[kind][0](same.map([1, 2]))

    @flow
    def main() -> Any:
        return {kind: outer.submit(kind).result(WAIT) for kind in NESTED}

    assert main() == {kind: expected for kind, (_, expected) in NESTED.items()}


# -- what is shared by all items of an iterator's map ---------------------------------------------------


@pytest.mark.parametrize("waits", ["constant", "wait_for"])
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_an_iterators_map_waits_for_what_its_items_share(concurrent: str, waits: str, ended: bool) -> None:
    @flow
    def main() -> Any:
        before = same.submit(7)
        if ended:
            before.wait(WAIT)
        if waits == "constant":
            return pair.map(iter([1, 2]), unmapped(before)).result(WAIT)
        return same.map(iter([1, 2]), wait_for=[before]).result(WAIT)

    assert main() == ([(1, 7), (2, 7)] if waits == "constant" else [1, 2])


@pytest.mark.parametrize("waits", ["constant", "wait_for"])
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_no_item_of_an_iterator_begins_behind_a_failure(concurrent: str, waits: str, ended: bool) -> None:
    @flow
    def main() -> Any:
        before = bad.submit(7)
        if ended:
            before.wait(WAIT)
        if waits == "constant":
            futures = pair.map(iter([1, 2]), unmapped(before))
        else:
            futures = same.map(iter([1, 2]), wait_for=[before])
        names = [state.name for state in futures.wait(WAIT)]
        assert before.exception() is not None
        assert futures.failed() == [0, 1]
        return names, str(futures[0].exception())

    names, told = main()
    assert names == ["TriggerFailed"] * 2
    assert "bad" in told


# -- what tasks return ---------------------------------------------------------------------------------

RETURNS: dict[str, tuple[Callable[[], Any], Any]] = {
    "future": (lambda: same.submit(1), 1),
    "map": (lambda: same.map([1, 2]), [1, 2]),
    "list": (lambda: [same.submit(1), same.submit(2)], [1, 2]),
    "mixed list": (lambda: ["x", 0, same.submit(1)], ["x", 0, 1]),
    "late in a list": (lambda: [*range(100), same.submit(1)], [*range(100), 1]),
    "dict": (lambda: {"a": same.submit(1), "b": 2}, {"a": 1, "b": 2}),
    "dict of maps": (lambda: {"a": same.map([1, 2])}, {"a": [1, 2]}),
    "deep": (lambda: {"a": [(same.submit(1), {"b": same.map([3])})]}, {"a": [(1, {"b": [3]})]}),
    "data": (lambda: Data(same.submit(1)), Data(1)),
    "generator": (lambda: (same.submit(x) for x in range(3)), [0, 1, 2]),
    "failed, allowed": (lambda: [type(e) for e in [bad.submit(1).exception()]], [ValueError]),
}


@pytest.mark.parametrize("way", ["call", "submit", "map"])
def test_futures_that_a_task_returns_become_values(runner: str, way: str) -> None:
    @task
    def returns(kind: str) -> Any:
        return RETURNS[kind][0]()

    @flow
    def main() -> Any:
        if way == "call":
            return {kind: returns(kind) for kind in RETURNS}
        if way == "submit":
            return {kind: returns.submit(kind).result(WAIT) for kind in RETURNS}
        return dict(zip(RETURNS, returns.map(list(RETURNS)).result(WAIT), strict=True))

    assert main() == {kind: expected for kind, (_, expected) in RETURNS.items()}


def test_futures_of_others_that_a_task_returns_become_values(threads: str) -> None:
    @flow
    def main() -> Any:
        other = same.submit(1)
        return [task(lambda make=make: make(other)).submit().result(WAIT) for make in (
            lambda f: f, lambda f: [f], lambda f: [0, f], lambda f: {"a": f}, lambda f: (0, f), lambda f: {f: 1},
        )]  # fmt: skip

    found = main()
    assert found[:5] == [1, [1], [0, 1], {"a": 1}, (0, 1)]


def test_a_failed_future_in_what_a_task_returns_fails_the_task(concurrent: str) -> None:
    @task
    def returns() -> Any:
        return {"a": bad.submit(1)}

    @task
    def admits() -> Any:
        return {"a": allow_failure(bad.submit(1))}

    @flow
    def main() -> Any:
        with pytest.raises(ValueError, match="bad 1"):
            returns.submit().result(WAIT)
        return type(admits.submit().result(WAIT)["a"])

    assert main() is ValueError
