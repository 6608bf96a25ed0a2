"""The law of the ways: call, submit and a map of one item give the value, or the error, that the bare function gives.

Functions, their arguments and options are drawn at random; a failure prints what to repeat it with.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING, Any

import hypothesis
from hypothesis import strategies as st

from anabranch import cache_policies as policies
from anabranch import flow, task

if TYPE_CHECKING:
    from collections.abc import Callable

_names = itertools.count()


class Mine(ValueError):
    """An error of the user's own, whose arguments are not its message."""

    def __init__(self, where: str, what: Any) -> None:
        super().__init__(f"{where}: {type(what).__name__}")
        self.where = where


@dataclasses.dataclass(frozen=True)
class Spot:
    x: Any
    y: tuple[Any, ...] = ()


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5),
    st.sampled_from([..., NotImplemented, int, len, Spot]),
)  # fmt: skip
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Spot, inner, st.tuples(inner)),
    ),
    max_leaves=8,
)

# -- functions: each makes something else of its argument ------------------------------------------


def _same(x: Any) -> Any:
    return x


def _pair(x: Any, *, more: Any = 3) -> Any:
    return x, more


def _kind(x: Any) -> str:
    return type(x).__name__


def _fails(x: Any) -> Any:
    raise Mine("here", x)


def _fails_plainly(x: Any) -> Any:
    return x["no such key"][0]


def _late(x: Any) -> Any:
    yield x
    yield [x]


async def _slow(x: Any) -> Any:
    return [x]


async def _slow_failure(x: Any) -> Any:
    raise Mine("later", x)


def _error_as_value(x: Any) -> Any:
    return ValueError("a value")


def _wraps(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(fn)
    def around(x: Any) -> Any:
        return fn(x)

    return around


class _Adds:
    def __init__(self, more: Any) -> None:
        self.more = more

    def __call__(self, x: Any) -> Any:
        return [x, self.more]


def _closed(more: Any) -> Callable[[Any], Any]:
    return lambda x: {"x": x, "more": more}


functions = st.one_of(
    st.sampled_from([_same, _pair, _kind, _fails, _fails_plainly, _slow, _slow_failure, _error_as_value]),
    st.sampled_from([_wraps(_same), _wraps(_fails), functools.partial(_pair, more=[1])]),
    st.builds(_closed, values),
    st.builds(_Adds, values),
)
hook = st.just((lambda obj, run, state: None,))
options = st.fixed_dictionaries(
    {},
    optional={
        "retries": st.integers(1, 2),
        "timeout_seconds": st.just(60),
        "on_completion": hook,
        "on_failure": hook,
        "state_handlers": st.just((lambda obj, old, new: None,)),
        "cache_policy": st.sampled_from(
            [policies.INPUTS, policies.TASK_SOURCE + policies.INPUTS, policies.DEFAULT, policies.NO_CACHE]
        ),
        "persist_result": st.booleans(),
        "tags": st.just(("a",)),
        "log_prints": st.booleans(),
    },
)


USUAL = hypothesis.settings.default.max_examples  # fewer by day
drawn = functools.partial(
    hypothesis.settings, deadline=None, print_blob=True, suppress_health_check=list(hypothesis.HealthCheck)
)


def outcome(run: Callable[[], Any]) -> tuple[str, ...]:
    """The value, or the error's type and words."""
    try:
        return "value", repr(run())
    except Exception as error:
        return "error", type(error).__qualname__, str(error)


async def _awaited(found: Any) -> Any:
    return await found


def bare(fn: Callable[[Any], Any], x: Any) -> Any:
    """What plain Python makes of it."""
    import asyncio
    import inspect

    found = fn(x)
    return asyncio.run(_awaited(found)) if inspect.iscoroutine(found) else found


@drawn(max_examples=USUAL * 3 // 5)
@hypothesis.given(fn=functions, x=values, chosen=options)
def test_all_ways_are_one(near: str, fn: Any, x: Any, chosen: dict[str, Any]) -> None:
    expected = outcome(lambda: bare(fn, x))
    work = task(name=f"law-{next(_names)}", **chosen)(fn)
    ways = {
        "called": lambda: bare(work, x),
        "submitted": lambda: work.submit(x).result(),
        "mapped": lambda: work.map([x]).result()[0],
        "in a flow": lambda: flow(lambda: work.submit(x))(),
        "once more": lambda: work.submit(x).result(),
    }
    assert {way: outcome(run) for way, run in ways.items()} == dict.fromkeys(ways, expected)


@drawn(max_examples=USUAL // 5)
@hypothesis.given(xs=st.lists(values, min_size=1, max_size=5), chosen=options)
def test_a_map_is_its_items(near: str, xs: list[Any], chosen: dict[str, Any]) -> None:
    work = task(name=f"law-{next(_names)}", **chosen)(_closed(xs))
    assert [repr(one) for one in work.map(xs).results()] == [repr(_closed(xs)(x)) for x in xs]


@drawn(max_examples=USUAL // 5)
@hypothesis.given(x=values, chosen=options)
def test_generators_give_all_their_items(near: str, x: Any, chosen: dict[str, Any]) -> None:
    work = task(name=f"law-{next(_names)}", **chosen)(_late)
    expected = repr([x, [x]])
    assert [repr(list(work(x))), repr(work.submit(x).result()), repr(work.map([x]).result()[0])] == [expected] * 3
