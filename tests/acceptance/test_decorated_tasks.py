"""Tasks over other decorators, builtins and objects: what is called decides, on every runner."""

from __future__ import annotations

import asyncio
import functools
import math
import operator
from typing import Any

import pytest

from anabranch import context, flow, task
from anabranch.core.policies import INPUTS
from tests.acceptance.ways import WAYS, result_of


def gives(fn: Any) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn("conn", *args, **kwargs)

    return inner


def gives_by_name(fn: Any) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, db="conn", **kwargs)

    return inner


def takes_more(fn: Any) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, verbose: bool = False, **kwargs: Any) -> Any:
        return verbose, fn(*args, **kwargs)

    return inner


def passes_on(fn: Any) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner


@task
@gives
def load(conn: str, x: int) -> Any:
    return conn, x


@task
@gives_by_name
def save(x: int, *, db: str) -> Any:
    return x, db


@task
@takes_more
def talk(x: int) -> int:
    return x


@task
@passes_on
async def fetch(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@functools.lru_cache
def helper(x: int) -> int:
    return x + 1


@task
def helped(x: int) -> int:
    return helper(x)


@task
@functools.cache
def cached(x: int) -> int:
    return x + 1


@task
@functools.singledispatch
def show(x: object) -> str:
    return "other"


@show.fn.register  # type: ignore[attr-defined]
def _(x: int) -> str:
    return "int"


class Adds:
    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, x: int) -> int:
        return x + self.k


class AddsLater(Adds):
    async def __call__(self, x: int) -> int:  # type: ignore[override]
        return x + self.k


async def plus(x: int, k: int) -> int:
    return x + k


CASES: list[tuple[str, Any, Any, Any]] = [
    ("gives", load, 5, ("conn", 5)),
    ("gives by name", save, 5, (5, "conn")),
    ("takes more", talk, 5, (False, 5)),
    ("lru_cache", cached, 1, 2),
    ("lru_cache below", helped, 1, 2),
    ("singledispatch", show, 1, "int"),
    ("partial", task(functools.partial(pow, 2)), 3, 8),
    ("partial by name", task(functools.partial(int, base=2)), "101", 5),
    ("builtin", task(len), [1, 2], 2),
    ("C function", task(math.sqrt), 4.0, 2.0),
    ("itemgetter", task(operator.itemgetter("a")), {"a": 1}, 1),
    ("method of a type", task(str.upper), "a", "A"),
    ("class", task(complex), 1, 1 + 0j),
    ("object", task(Adds(2)), 1, 3),
    ("async object", task(AddsLater(2)), 1, 3),
    ("partial of async", task(functools.partial(plus, k=2)), 1, 3),
    ("gives a coroutine", task(lambda x: plus(x, 2)), 1, 3),
    ("wrapper round async", fetch, 5, 10),
    ("method of an object", task([3, 1, 2].index), 1, 1),
]


def test_submitted_and_mapped(runner: str) -> None:
    @flow
    def around() -> None:
        for name, work, argument, wanted in CASES:
            found = [work.submit(argument).result(), work.map([argument]).result()[0]]
            assert (name, found) == (name, [wanted, wanted])

    around()


@pytest.mark.parametrize("name", ["gives", "gives by name", "takes more", "lru_cache", "singledispatch", "object"])
def test_called(threads: str, name: str) -> None:
    _, work, argument, wanted = next(case for case in CASES if case[0] == name)
    assert work(argument) == wanted


def test_arguments_of_the_wrapper_itself(concurrent: str) -> None:
    assert talk.submit(5, verbose=True).result() == (True, 5)
    assert talk.map([5], verbose=True).result() == [(True, 5)]


@pytest.mark.parametrize("way", WAYS)
def test_decorated_functions_have_their_names_and_keys(concurrent: str, way: str) -> None:
    named = task(passes_on(lambda x, y=1: context.task_run().name), name="named", task_run_name="{x}-{y}")
    keyed = task(gives(lambda conn, x: (conn, x)), name="keyed", cache_policy=INPUTS)
    assert result_of(way, named, 5) == "5-1"
    assert [result_of(way, keyed, x) for x in (1, 2)] == [("conn", 1), ("conn", 2)]


def test_flows_under_decorators() -> None:
    @flow
    @gives
    def around(conn: str, x: int) -> Any:
        return conn, x

    @flow
    @passes_on
    def validated(x: int) -> Any:
        return x

    assert around(5) == ("conn", 5)
    assert validated("5") == 5  # type: ignore[arg-type]
