"""Future lists in async code: awaited as a whole, and read item by item."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import TYPE_CHECKING

import pytest

from anabranch import flow, task
from tests.acceptance.gates import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.gates import Gate


@task
def double(x: int) -> int:
    return 2 * x


@task
def bad(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


def test_a_list_is_awaited(runner: str) -> None:
    async def main() -> list[int]:
        return await double.map(range(5))

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_a_failure_is_raised_where_it_is_awaited(runner: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="two"):
            await bad.map(range(5))

    asyncio.run(main())


def test_results_in_an_async_for(runner: str) -> None:
    @flow
    async def main() -> list[int]:
        return [x async for x in double.map(range(50)).results()]

    assert asyncio.run(main()) == [2 * x for x in range(50)]  # type: ignore[arg-type]


def test_the_loop_goes_on_meanwhile(concurrent: str, gates: Callable[[str], Gate]) -> None:
    gate = gates("door")

    @task
    def behind(x: int) -> int:
        gate.pass_through()
        return x

    async def main() -> list[int]:
        asyncio.get_running_loop().call_soon(gate.open)  # after the wait has begun
        return [x async for x in behind.map(range(3)).results()]

    assert asyncio.run(main()) == [0, 1, 2]


def test_failures_come_at_their_place(runner: str) -> None:
    async def main() -> None:
        stream = bad.map(range(5)).results()
        assert [await anext(stream), await anext(stream)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            await anext(stream)
        kinds = [type(x) async for x in bad.map(range(4)).results(raise_on_failure=False)]
        assert kinds == [int, int, ValueError, int]

    asyncio.run(main())


def test_leaving_the_loop_early_pulls_no_more(concurrent: str) -> None:
    pulled = itertools.count()
    left = []

    def endless() -> object:
        try:
            yield from pulled
        finally:
            left.append(True)

    async def main() -> None:
        async for x in double.map(endless()).results():
            if x == 20:
                break

    asyncio.run(main())
    gc.collect()
    until(lambda: bool(left), "the end of the input")


def test_a_stream_is_read_by_next_and_closed(fresh_session: object) -> None:
    stream = double.map([1, 2, 3]).results()
    assert next(stream) == 2
    assert [*stream] == [4, 6]
    stream.close()
    assert [*stream] == []


def test_a_stream_that_was_closed_before_it_began_is_empty(fresh_session: object) -> None:
    async def main() -> list[int]:
        stream = double.map([1, 2, 3]).results()
        stream.close()
        return [x async for x in stream]

    assert asyncio.run(main()) == []
