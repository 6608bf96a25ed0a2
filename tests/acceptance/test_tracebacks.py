"""A failure that is asked for again has the frames of this time, and lets go of the locals of those who asked."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import as_completed, flow, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from anabranch import Future, FutureList


@task
def bad(x: Any) -> Any:
    raise ValueError(f"bad {x}")


@task
async def bad_async(x: Any) -> Any:
    raise ValueError(f"bad {x}")


@task
def bad_items(x: Any) -> Iterator[Any]:
    yield x
    raise ValueError(f"bad {x}")


@task
async def bad_async_items(x: Any) -> AsyncIterator[Any]:
    yield x
    raise ValueError(f"bad {x}")


@flow
def bad_flow(x: Any) -> None:
    raise ValueError(f"bad {x}")


@flow
def unhandled(x: Any) -> None:
    bad.map([x, x])


@flow
async def bad_async_flow(x: Any) -> None:
    bad_async.submit(x).result()


class Local:
    """What a caller has in its frame."""


def raise_it(error: BaseException | None) -> None:
    assert error is not None
    try:
        raise error
    finally:
        del error


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def asked(ask: Callable[[], object]) -> tuple[int, int, weakref.ref[Local]]:
    """How many frames and notes the error has, and a caller's local."""
    local = Local()
    try:
        ask()
    except ValueError as error:
        found, frames = error.__traceback__, 0
        while found is not None:
            frames, found = frames + 1, found.tb_next
        return frames, len(getattr(error, "__notes__", ())), weakref.ref(local)
    raise AssertionError("nothing was raised")


KEPT: dict[str, Callable[[Future, FutureList], object]] = {
    "result": lambda future, several: future.result(),
    "exception": lambda future, several: raise_it(future.exception()),
    "value": lambda future, several: raise_it(future.result(raise_on_failure=False)),
    "state": lambda future, several: future.state.result(),
    "state's exception": lambda future, several: raise_it(future.state.exception()),
    "list": lambda future, several: several.result(),
    "list's exceptions": lambda future, several: raise_it(several.result(raise_on_failure=False)[1]),
    "item": lambda future, several: several[1].result(),
    "states": lambda future, several: several.states[1].result(),
    "results": lambda future, several: list(several.results()),
    "as completed": lambda future, several: [one.result() for one in as_completed([future, several])],
    "reduce": lambda future, several: raise_it(several.reduce(max).exception().__cause__ or several[0].exception()),
    "another task's": lambda future, several: bad(future) if not future else future.result(),
}


@pytest.mark.parametrize("how", KEPT)
def test_what_is_kept_gathers_no_frames(runner: str, how: str) -> None:
    @flow
    def main() -> str:
        future, several = bad.submit(1), bad.map([2, 3])
        future.wait()
        several.wait()
        found = [asked(lambda: KEPT[how](future, several)) for _ in range(4)]
        assert len({seen[:2] for seen in found}) == 1
        assert [seen[2]() for seen in found] == [None] * 4
        return "looked at"

    main()


ANEW: dict[str, Callable[[], object]] = {
    "call": lambda: bad(1),
    "items": lambda: list(bad_items(1)),
    "call's state": lambda: bad(1, return_state=True).result(),
    "flow": lambda: bad_flow(1),
    "flow's task runs": lambda: unhandled(1),
    "flow's state": lambda: bad_flow(1, return_state=True).result(),
    "submitted flow": lambda: bad_flow.submit(1).result(),
}


@pytest.mark.parametrize("how", ANEW)
def test_what_is_raised_is_not_kept(runner: str, how: str) -> None:
    found = [asked(ANEW[how]) for _ in range(4)]
    assert len({seen[:2] for seen in found[1:]}) == 1
    assert [seen[2]() for seen in found] == [None] * 4


async def awaited(ask: Callable[[], Any]) -> tuple[int, int, weakref.ref[Local]]:
    """As `asked`. A loop that is left with an error keeps it by itself: it is left without one."""
    local = Local()
    try:
        await ask()
    except ValueError as error:
        found, frames = error.__traceback__, 0
        while found is not None:
            frames, found = frames + 1, found.tb_next
        return frames, len(getattr(error, "__notes__", ())), weakref.ref(local)
    raise AssertionError("nothing was raised")


async def read(items: Any) -> list[Any]:
    return [item async for item in items]


AWAITED: dict[str, Callable[[Future], Any]] = {
    "future": lambda future: future,
    "async call": lambda future: bad_async(1),
    "async flow": lambda future: bad_async_flow(1),
    "async items": lambda future: read(bad_async_items(1)),
}


@pytest.mark.parametrize("how", AWAITED)
def test_what_is_awaited_is_not_kept(runner: str, how: str) -> None:
    async def main() -> None:
        future = bad_async.submit(1)
        found = [await awaited(lambda: AWAITED[how](future)) for _ in range(4)]
        assert len({seen[:2] for seen in found[1:]}) == 1
        assert [seen[2]() for seen in found] == [None] * 4

    asyncio.run(main())


@pytest.mark.parametrize("made", [lambda: bad(1, return_state=True), lambda: bad_flow(1, return_state=True)])
def test_a_state_keeps_no_frames_but_their_text(runner: str, made: Callable[[], Any]) -> None:
    state = made()
    found = [asked(state.result) for _ in range(4)]
    assert len({seen[:2] for seen in found}) == 1
    assert [seen[2]() for seen in found] == [None] * 4
    assert state.exception().__traceback__ is None
    assert "raise ValueError" in state.exception().__notes__[-1]


def test_an_error_that_leaves_a_call_is_the_one_that_was_raised(threads: str) -> None:
    """Its frames are the caller's and the function's."""
    mine = ValueError("mine")

    @task
    def raises() -> None:
        raise mine

    @flow
    def around() -> None:
        raises()

    for ask in raises, around:
        with pytest.raises(ValueError, match="mine") as found:
            ask()
        assert found.value is mine
        assert found.traceback[-1].name == "raises"
