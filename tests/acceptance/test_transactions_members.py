"""Which task runs are members of a transaction, besides those of `test_transactions.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import UpstreamError
from anabranch.transactions import Transaction, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Heard = list[str]


@pytest.fixture
def heard() -> Heard:
    return []


def hooked(made: Any, heard: Heard) -> Any:
    made.on_commit(lambda txn: heard.append("keep"))
    made.on_rollback(lambda txn: heard.append("undo"))
    return made


@pytest.mark.parametrize("way", ["raised", "state"])
def test_a_call_that_does_not_begin_undoes_the_others(threads: str, heard: Heard, way: str) -> None:
    one = hooked(task(lambda: 1), heard)
    fail, takes = task(lambda: 1 / 0), task(lambda x: x)

    @flow
    def main() -> str:
        failed = fail.submit()
        assert failed.wait().is_failed()
        with transaction() as txn:
            one()
            if way == "raised":
                with pytest.raises(UpstreamError):
                    takes(failed)
            else:
                assert takes(failed, return_state=True).is_failed()
        return str(txn.state.value)

    assert main(return_state=True).result(raise_on_failure=False) is not None
    assert heard == ["undo"]


def test_a_coroutine_that_does_not_begin_undoes_the_others(threads: str, heard: Heard) -> None:
    one = hooked(task(lambda: 1), heard)
    fail = task(lambda: 1 / 0)

    @task
    async def takes(x: Any) -> Any:
        return x

    async def main() -> bool:
        async with transaction() as txn:
            one()
            with pytest.raises(UpstreamError):
                await takes(fail.submit())
        return txn.is_rolled_back()

    assert asyncio.run(main())
    assert heard == ["undo"]


def test_a_generator_that_was_read_is_a_member(threads: str, heard: Heard) -> None:
    @task
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)
        if n == 2:
            raise ValueError("two")

    made = hooked(numbers, heard)
    with transaction() as txn:
        assert list(made(3)) == [0, 1, 2]
        assert heard == []
    assert txn.is_committed()
    assert heard == ["keep"]
    undone = transaction()
    undone.on_commit_hooks.append(lambda txn: 1 / 0)
    with undone:
        assert list(made(1)) == [0]
    assert undone.is_rolled_back()
    with transaction() as txn:
        assert list(made(1)) == [0]
        with pytest.raises(ValueError, match="two"):
            list(made(2))
    assert txn.is_rolled_back()
    assert heard == ["keep", "keep", "undo"]


def test_a_block_among_the_items_of_a_generator_is_its_readers(threads: str, heard: Heard) -> None:
    """The generator's own part is not around the code that takes its items."""

    @task
    def numbers() -> Iterator[int]:
        yield from range(2)

    one = hooked(task(lambda x: x), heard)
    with transaction() as txn:
        for number in numbers():
            one(number)
        assert len(txn.children) == 3
    assert heard == ["keep", "keep"]


def test_an_async_generator_that_was_read_is_a_member(threads: str, heard: Heard) -> None:
    @task
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    made = hooked(numbers, heard)

    async def main() -> list[int]:
        async with transaction():
            return [number async for number in made()]

    assert asyncio.run(main()) == [1, 2]
    assert heard == ["keep"]


def test_a_part_that_cannot_be_committed_takes_the_block_along(threads: str, heard: Heard) -> None:
    breaks = task(lambda: 1)
    breaks.on_commit(lambda txn: 1 / 0)
    breaks.on_rollback(lambda txn: heard.append("undo breaks"))
    before, behind = hooked(task(lambda: 1), heard), hooked(task(lambda: 1), heard)
    with transaction() as txn:
        before()
        breaks()
        behind()
    assert txn.is_rolled_back()
    assert heard == ["keep", "undo breaks", "undo"]  # what is committed stays


def test_a_run_that_is_not_done_again_is_a_member(threads: str, heard: Heard) -> None:
    """A call that an earlier attempt has done is not done again, and is undone with the others."""
    calls: list[str] = []

    @task
    def write() -> str:
        calls.append("write")
        return "written"

    made = hooked(write, heard)

    @flow(retries=1, resumable=True)
    def main() -> None:
        try:
            with transaction():
                assert made() == "written"
                calls.append("block")
                raise ValueError("both times")
        finally:
            heard.append("left")

    assert main(return_state=True).is_failed()
    assert calls == ["write", "block", "block"]
    assert heard == ["undo", "left", "undo", "left"]


def test_hooks_get_a_transaction_of_the_streamed_run(threads: str) -> None:
    seen: list[Any] = []

    @task
    def numbers() -> Iterator[int]:
        yield 1

    numbers.on_commit(seen.append)
    with transaction() as txn:
        list(numbers())
    assert isinstance(seen[0], Transaction)
    assert seen[0].parent is txn
