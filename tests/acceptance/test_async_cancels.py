"""Async code that is cancelled ends, and the record says so, whatever options it has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core import states
from tests.acceptance.gates import SOON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "timed": {"timeout_seconds": SOON},
    "retried": {"timeout_seconds": SOON, "retries": 2},
}


async def _wait_for(work: Awaitable[Any], began: asyncio.Event) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work, 0.05)


async def _timeout(work: Awaitable[Any], began: asyncio.Event) -> None:
    async def over(limit: asyncio.Timeout) -> None:
        await began.wait()
        limit.reschedule(0)

    async def limited() -> None:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            group.create_task(over(limit))
            await work

    with pytest.raises(TimeoutError):
        await limited()


async def _cancel(work: Awaitable[Any], began: asyncio.Event) -> None:
    running = asyncio.ensure_future(work)
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def _group(work: Awaitable[Any], began: asyncio.Event) -> None:
    async def bad() -> None:
        await began.wait()
        raise ValueError("a neighbour fails")

    async def waits() -> None:
        await work

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits())
            group.create_task(bad())

    with pytest.raises(ExceptionGroup):
        await both()


CANCELS = [_wait_for, _timeout, _cancel, _group]


@pytest.mark.parametrize("cancel", CANCELS)
@pytest.mark.parametrize("options", list(OPTIONS))
@pytest.mark.parametrize("kind", ["task", "flow"])
def test_a_cancel_reaches_the_function_and_is_recorded(
    threads: str, kind: str, options: str, cancel: Callable[[Awaitable[Any], asyncio.Event], Awaitable[None]]
) -> None:
    make: Any = task if kind == "task" else flow
    told: list[str] = []
    ended: list[str] = []

    def hook(obj: Any, run: Any, state: Any) -> None:
        told.append(state.name)

    @make(**OPTIONS[options], on_cancellation=[hook], on_crashed=[hook], on_failure=[hook], on_completion=[hook])
    async def long(began: asyncio.Event) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append("cleaned up")
            raise

    async def main() -> list[str]:
        began = asyncio.Event()
        await cancel(long(began), began)
        return list(ended)  # by now: who cancels waits for the end

    assert asyncio.run(main()) == ["cleaned up"]
    assert told == ["Cancelled"]


@pytest.mark.parametrize("kind", ["task", "flow"])
def test_what_the_function_makes_of_a_cancel_stands(threads: str, kind: str) -> None:
    make: Any = task if kind == "task" else flow

    @make(timeout_seconds=SOON)
    async def goes_on(answer: Any, began: asyncio.Event) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if isinstance(answer, Exception):
                raise answer from None
            return answer

    async def main(answer: Any) -> Any:
        began = asyncio.Event()
        running = asyncio.ensure_future(goes_on(answer, began))
        await began.wait()
        running.cancel()
        return await running

    assert asyncio.run(main("kept")) == "kept"
    with pytest.raises(ValueError, match="mine"):
        asyncio.run(main(ValueError("mine")))


def test_a_flow_past_its_time_takes_the_timed_tasks_it_awaits_along(threads: str) -> None:
    ended: list[str] = []

    @task(timeout_seconds=SOON)
    async def inner() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("inner")
            raise

    @flow(timeout_seconds=SOON)
    async def between() -> None:
        await inner()

    @flow(timeout_seconds=0.1)
    async def outer() -> None:
        await between()

    assert asyncio.run(outer(return_state=True)).name == "TimedOut"
    assert ended == ["inner"]


def test_the_record_says_cancelled_of_a_called_task(fresh_session: Any) -> None:
    @task(timeout_seconds=SOON)
    async def long() -> None:
        await asyncio.Event().wait()

    @flow
    async def main() -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(long(), 0.05)
        return "went on"

    assert asyncio.run(main()) == "went on"
    (run,) = fresh_session.records.flow_runs()
    (map,) = [m for m in fresh_session.records.maps(run.id) if m.task == "long"]
    (attempt,) = fresh_session.records.attempts(map.id, 0)
    assert (attempt.state, attempt.message) == (states.CANCELLED, "Cancelled.")
