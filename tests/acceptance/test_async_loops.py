"""Where coroutines run: async tasks of a runner on one loop, async hooks and returned coroutines where they come up."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import Task, flow, task
from tests.acceptance.gates import SOON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


async def fetched(x: Any) -> Any:
    await asyncio.sleep(0)
    return x


# -- one loop a runner -----------------------------------------------------------------------------


class Client:
    """Like a pool of connections: it belongs to the loop that it was first used on."""

    def __init__(self) -> None:
        self.loop: Any = None
        self.slots = asyncio.Semaphore(2)

    async def get(self, x: Any) -> Any:
        here = asyncio.get_running_loop()
        self.loop = self.loop or here
        if self.loop is not here:
            raise RuntimeError("used on another loop")
        async with self.slots:
            return await fetched(x)


class Shared:
    """What a module has at its top: made where it is first used."""

    client: Client | None = None


def client() -> Client:
    Shared.client = Shared.client or Client()
    return Shared.client


@task
async def get(x: Any) -> Any:
    return await client().get(x)


@task
async def gets_by_submits(n: int) -> list[Any]:
    own = await client().get(n)
    return [own, *await asyncio.gather(*[get.submit(i) for i in range(n)])]


@task
async def where(x: int) -> tuple[int, int]:
    await asyncio.sleep(0)
    return os.getpid(), id(asyncio.get_running_loop())


def test_async_tasks_of_a_runner_live_on_one_loop_in_each_process(runner: str) -> None:
    @flow
    def main() -> list[Any]:
        return where.map(range(12), chunk=2).result() + [f.result() for f in [where.submit(i) for i in range(6)]]

    found = set(main() + main())
    assert len({pid for pid, _ in found}) == len(found)


@pytest.fixture
def _unused_client() -> Iterator[None]:
    Shared.client = None
    yield
    Shared.client = None


@pytest.mark.usefixtures("_unused_client")
def test_what_async_tasks_of_a_module_share_is_theirs_in_each_of_its_runs(runner: str) -> None:
    @flow
    def main() -> Any:
        mapped = get.map(range(30), chunk=3).result()
        single = [f.result() for f in [get.submit(i) for i in range(10)]]
        return mapped, single

    assert main() == (list(range(30)), list(range(10)))
    assert main() == (list(range(30)), list(range(10)))


@pytest.mark.usefixtures("_unused_client")
def test_async_tasks_share_it_with_those_that_submit_them(concurrent: str) -> None:
    assert gets_by_submits.submit(3).result() == [3, 0, 1, 2]


@task
async def later(x: Any) -> Any:
    await asyncio.sleep(0.02)
    return x


@task
async def stands_still(n: int) -> list[Any]:
    futures = [later.submit(i) for i in range(n)]
    await asyncio.sleep(0.01)  # by now some of them may have begun on the loop
    return [f.result() for f in futures]


def test_an_async_task_may_wait_without_awaiting(beside: str) -> None:
    """Its loop has the runs that it waits for, and those of others that do the same."""

    @flow
    def main() -> Any:
        return [f.result(timeout=SOON) for f in [stands_still.submit(3) for _ in range(6)]]

    assert main() == [[0, 1, 2]] * 6


def test_a_timed_task_is_called_by_an_async_one_and_waits_for_async_ones(threads: str) -> None:
    @task(timeout_seconds=SOON)
    def waits(x: int) -> Any:
        return get.submit(x).result()

    @task
    async def calls(x: int) -> Any:
        return waits(x)

    assert calls.map(range(6), chunk=1).result(timeout=SOON) == list(range(6))


def test_the_context_of_each_async_item_is_its_own(runner: str) -> None:
    from anabranch import context

    @task
    async def own(x: int) -> tuple[int, int]:
        before = context.task_run().index
        await asyncio.sleep(0.001 * (x % 3))
        return before, context.task_run().index

    assert own.map(range(12), chunk=4).result() == [(i, i) for i in range(12)]


def test_a_runner_is_closed_by_an_async_task_of_its_own(threads: str) -> None:
    from anabranch import ThreadRunner

    mine = ThreadRunner(2)

    @task
    async def closes() -> str:
        await asyncio.sleep(0)
        mine.close(timeout=SOON)
        return "closed"

    @flow(runner=mine)
    def main() -> Any:
        return closes.submit().wait(SOON).name

    assert main(return_state=True).is_final()


# -- a loop runs -----------------------------------------------------------------------------------

heard: list[str] = []


async def hook(obj: Any, run: Any, state: Any) -> None:
    await asyncio.sleep(0)
    heard.append(state.name)


async def handler(obj: Any, old: Any, new: Any) -> None:
    await asyncio.sleep(0)
    heard.append(new.name)


async def again(obj: Any, run: Any, state: Any) -> bool:
    await asyncio.sleep(0)
    return True


def _plain(call: Callable[[], Any]) -> Any:
    return call()


def _in_a_loop(call: Callable[[], Any]) -> Any:
    async def notebook() -> Any:
        return call()

    return asyncio.run(notebook())


def _in_an_async_flow(call: Callable[[], Any]) -> Any:
    @flow
    async def around() -> Any:
        return call()

    return asyncio.run(around())


def _in_an_async_task(call: Callable[[], Any]) -> Any:
    @task
    async def around() -> Any:
        return call()

    return around.submit().result()


WAYS = [_plain, _in_a_loop, _in_an_async_flow, _in_an_async_task]
CALLS: dict[str, Callable[[Any], Any]] = {
    "call": lambda t: t(),
    "submit": lambda t: t.submit().result(),
    "map": lambda t: t.map([1]).result()[0],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["task", "flow"])
@pytest.mark.parametrize("how", ["call", "submit"])
def test_async_hooks_handlers_and_conditions_are_heard(
    threads: str, way: Callable[[Callable[[], Any]], Any], kind: str, how: str
) -> None:
    make: Any = task if kind == "task" else flow
    tries: list[int] = []

    @make(retries=1, retry_condition_fn=again, on_retry=[hook], on_completion=[hook], state_handlers=[handler])
    def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")
        return len(tries)

    heard.clear()
    assert way(lambda: CALLS[how](flaky)) == 2
    assert heard.count("AwaitingRetry") == 2
    assert heard.count("Completed") == 2


@pytest.mark.parametrize("how", ["submit", "map"])
@pytest.mark.parametrize("way", WAYS)
def test_async_hooks_of_submitted_runs_see_each_end(
    threads: str, way: Callable[[Callable[[], Any]], Any], how: str
) -> None:
    @task(on_failure=[hook])
    def bad(x: int = 0) -> int:
        raise ValueError(x)

    heard.clear()
    with pytest.raises(ValueError, match=r"\d"):
        way(lambda: CALLS[how](bad))
    assert heard == ["Failed"]


class AsyncCallable:
    async def __call__(self, x: int = 1) -> Any:
        return await fetched(x)


@flow
async def child(x: int = 1) -> Any:
    return await fetched(x)


@flow
def parent() -> Any:
    return child()


@task
def makes(x: int = 1) -> Any:
    return fetched(x)


@task(timeout_seconds=SOON)
def makes_timed(x: int = 1) -> Any:
    return fetched(x)


RETURNING = [makes, makes_timed, Task(AsyncCallable(), name="object")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", list(CALLS))
@pytest.mark.parametrize("one", RETURNING, ids=lambda t: t.name)
def test_a_coroutine_that_a_task_returns_is_run(
    threads: str, way: Callable[[Callable[[], Any]], Any], how: str, one: Any
) -> None:
    assert way(lambda: CALLS[how](one)) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_coroutine_that_a_flow_returns_is_run(threads: str, way: Callable[[Callable[[], Any]], Any]) -> None:
    assert way(parent) == 1
    assert way(lambda: parent.submit().result()) == 1


def test_a_returned_coroutine_is_cancelled_at_its_time(threads: str) -> None:
    ends: list[str] = []

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    @task(timeout_seconds=0.05)
    def late() -> Any:
        return long()

    assert late(return_state=True).name == "TimedOut"
    assert ends == ["cancelled"]
