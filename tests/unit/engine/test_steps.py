"""What steps promise to policies, and that each driver of them keeps it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.engine import drive
from anabranch.engine.steps import Call, Give, Left, Sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


async def _no_sleep(seconds: float) -> None: ...


def awaited(policy: Any) -> Any:
    return asyncio.run(drive.run_async(policy, sleep=_no_sleep))


DRIVERS: dict[str, Callable[[Any], Any]] = {
    "run": lambda policy: drive.run(policy, sleep=lambda seconds: None),
    "run_async": awaited,
}


@pytest.fixture(params=list(DRIVERS))
def driven(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Drives a policy to its end, blocking or awaiting: no policy can tell which."""
    return DRIVERS[request.param]


def add(a: int, b: int = 0) -> int:
    return a + b


async def add_later(a: int, b: int = 0) -> int:
    return a + b


def fail() -> None:
    raise KeyError("no")


async def fail_later() -> None:
    raise KeyError("no")


@pytest.mark.parametrize("fn", [add, add_later])
def test_a_call_is_answered_with_its_value(driven: Callable[[Any], Any], fn: Any) -> None:
    def policy() -> Generator[Any, Any, Any]:
        first = yield Call(fn, (1,), {"b": 2})
        return (yield Call(fn, (first,)))

    assert driven(policy()) == 3


@pytest.mark.parametrize("fn", [fail, fail_later])
def test_what_a_call_raises_is_raised_in_the_policy(driven: Callable[[Any], Any], fn: Any) -> None:
    def policy() -> Generator[Any, Any, Any]:
        try:
            yield Call(fn)
        except KeyError as error:
            return (yield Call(repr, (error,)))

    assert driven(policy()) == "KeyError('no')"


@pytest.mark.parametrize("fn", [fail, fail_later])
def test_what_a_policy_lets_through_comes_out(driven: Callable[[Any], Any], fn: Any) -> None:
    def policy() -> Generator[Any, Any, Any]:
        yield Call(fn)

    with pytest.raises(KeyError):
        driven(policy())


def test_a_sleep_has_no_answer_and_an_error_is_raised_but_once(driven: Callable[[Any], Any]) -> None:
    def policy() -> Generator[Any, Any, Any]:
        try:
            yield Call(fail)
        except KeyError:
            pass
        return (yield Sleep(5)), (yield Call(add, (1,)))

    assert driven(policy()) == (None, 1)


def test_calls_share_no_keywords() -> None:
    first, second = Call(add), Call(add)
    first.kwargs["b"] = 1
    assert second.kwargs == {}


# -- items ---------------------------------------------------------------------------------------------


def giving(log: list[Any]) -> Generator[Any, Any, Any]:
    try:
        log.append((yield Give((yield Call(add, (1,))))))
        log.append((yield Give((yield Call(add, (2,))))))
    except Exception as error:
        log.append(error)
    except Left:
        log.append("left")
        raise
    return "end"


def test_items_are_given_between_two_calls_and_answered() -> None:
    log: list[Any] = []
    items = drive.stream(giving(log), nullcontext)
    assert next(items) == 1
    assert items.send("thanks") == 2
    with pytest.raises(StopIteration, match="end"):
        next(items)
    assert log == ["thanks", None]


def test_what_the_taker_throws_arrives_where_the_item_was_given() -> None:
    log: list[Any] = []
    items = drive.stream(giving(log), nullcontext)
    next(items)
    error = ValueError("not this one")
    with pytest.raises(StopIteration):
        items.throw(error)
    assert log == [error]


def test_a_taker_that_leaves_is_no_exception_that_code_would_catch() -> None:
    log: list[Any] = []
    items = drive.stream(giving(log), nullcontext)
    next(items)
    with pytest.raises(Left):
        items.close()
    assert log == ["left"]


def test_items_are_given_on_a_loop_as_well() -> None:
    log: list[Any] = []

    async def take() -> list[Any]:
        return [item async for item in drive.stream_async(giving(log), nullcontext)]

    assert asyncio.run(take()) == [1, 2]
    assert log == [None, None]
