"""A project as a user writes it, for type checkers alone: mypy --strict and pyright read it, nobody runs it.

`assert_type` says what a checker and an editor are to see. A line that must not type-check has a `type: ignore`:
both checkers report one that is not needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_type

import anabranch
from anabranch import (
    DaskRunner,
    Flow,
    Future,
    FutureList,
    State,
    Task,
    ThreadRunner,
    as_completed,
    cache_policies,
    errors,
    flow,
    states,
    tags,
    task,
    triggers,
    unmapped,
    wait,
)
from anabranch.futures import States

# -- tasks -----------------------------------------------------------------------------------------


@task
def inc(x: int) -> int:
    return x + 1


@task(retries=2, tags="sums", retry_delay_seconds=[1, 5.0], memory="2 GiB", cache_policy=cache_policies.INPUTS)
def total(xs: list[int]) -> int:
    return sum(xs)


@task
async def fetch(n: int) -> str:
    return str(n)


@task
def rows(n: int) -> Iterator[float]:
    yield n / 2


@task(trigger=triggers.all_finished)
async def lines(n: int) -> AsyncIterator[bytes]:
    yield bytes(n)


@task
def untyped(x: Any) -> Any:
    return x


def calls() -> None:
    assert_type(inc(1), int)
    assert_type(inc(inc.submit(1)), int)
    assert_type(inc(1, return_state=True), State[int])
    assert_type(inc(1, return_state=True).result(), int)
    for row in rows(3):
        assert_type(row, float)


def submits() -> None:
    future = inc.submit(1)
    assert_type(future, Future[int])
    assert_type(future.result(), int)
    assert_type(future.result(timeout=3), int)
    assert_type(future.result(raise_on_failure=False), int | BaseException)
    assert_type(future.wait(), State[int])
    assert_type(future.state.result(), int)
    assert_type(inc.submit(1, return_state=True), State[int])
    assert_type(inc.submit(future, wait_for=[future]), Future[int])
    assert_type(total.submit(inc.map([1])), Future[int])
    assert_type(total.submit([future, future]), Future[int])
    assert_type(fetch.submit(1), Future[str])
    assert_type(fetch.submit(1, return_state=True), State[str])
    assert_type(rows.submit(3), Future[list[float]])
    assert_type(lines.submit(3).result(), list[bytes])
    text: str = untyped.submit(1).result()
    print(text)


def maps() -> None:
    futures = inc.map([1, 2])
    assert_type(futures, FutureList[int])
    assert_type(futures.result(), list[int])
    assert_type(futures[0], Future[int])
    assert_type(futures[1:], list[Future[int]])
    assert_type(futures.states, States[int])
    assert_type(futures.wait()[0].result(), int)
    assert_type(futures.reduce(max), Future[int])
    assert_type(inc.map(futures, chunk=3, window="auto", keep="none"), FutureList[int])
    assert_type(inc.map(x=unmapped(1)), FutureList[int])
    assert_type(inc.map([1], return_state=True), States[int])
    assert_type(fetch.map(range(3)), FutureList[str])
    assert_type(rows.map([1]).result(), list[list[float]])
    for value in futures.results():
        assert_type(value, int)
    for each in futures:
        assert_type(each, Future[int])
    with futures as held:
        assert_type(held, FutureList[int])


def waiting() -> None:
    futures = fetch.map(range(3))
    assert_type(wait(futures).done.pop(), Future[str])
    assert_type(wait([inc.submit(1)], return_when="FIRST_COMPLETED").not_done.pop(), Future[int])
    for future in as_completed(futures, release=True):
        assert_type(future, Future[str])
    with tags("nightly"):
        assert_type(inc.submit(1), Future[int])


# -- classes ---------------------------------------------------------------------------------------


class Job:
    factor = 2

    @task
    def scale(self, x: int) -> int:
        return x * self.factor

    @task(retries=1)
    async def load(self, name: str) -> bytes:
        return name.encode()

    @task
    @staticmethod
    def parse(text: str) -> float:
        return float(text)

    @flow
    def run(self, n: int) -> list[int]:
        return self.scale.map(range(n)).result()


def methods(job: Job) -> None:
    assert_type(job.scale(3), int)
    assert_type(job.scale.submit(3), Future[int])
    assert_type(job.scale.map([3]), FutureList[int])
    assert_type(job.load.submit("a").result(), bytes)
    assert_type(job.parse("1"), float)
    assert_type(Job.scale(job, 3), int)
    assert_type(job.run(3), list[int])
    assert_type(job.run.submit(3), Future[list[int]])


# -- flows -----------------------------------------------------------------------------------------


@flow(runner="thread", log_prints=True, name="sums")
def sums(n: int) -> int:
    return total(inc.map(range(n)).result())


@flow(runner=ThreadRunner(max_workers=2))
async def fetches(n: int) -> list[str]:
    return [await fetch.submit(i) for i in range(n)]


@flow
def returns_future(n: int) -> Future[int]:
    return inc.submit(n)


@flow(runner=DaskRunner)
def returns_futures(n: int) -> FutureList[int]:
    return inc.map(range(n))


@flow
def stream(n: int) -> Iterator[int]:
    yield from range(n)


def flows() -> None:
    assert_type(sums(3), int)
    assert_type(sums(3, return_state=True), State[int])
    assert_type(sums.submit(3), Future[int])
    assert_type(sums.submit(inc.submit(3), return_state=True), State[int])
    assert_type(fetches.submit(3), Future[list[str]])
    assert_type(returns_future(3), int)
    assert_type(returns_future.submit(3).result(), int)
    assert_type(returns_futures(3), list[int])
    assert_type(stream(3), Iterator[int])
    assert_type(stream(3, return_state=True), State[list[int]])
    assert_type(sums.with_options(retries=1)(3), int)


async def main() -> None:
    assert_type(await fetch(1), str)
    assert_type(await fetch.submit(1), str)
    assert_type(await inc.submit(1), int)
    assert_type(await fetches(2), list[str])
    state = await fetch(1, return_state=True)
    assert_type(state, State[str])
    if isinstance(state, states.Completed):
        print(state.result())


@inc.on_failure
def told(job: Any, run: Any, state: State) -> None:
    print(job, run, state)


assert_type(told(None, None, inc(1, return_state=True)), None)

# A parameter, a result, an alias: the classes stand for themselves in annotations.
one: Task[[int], int] = inc
any_task: Task[..., Any] = fetch
any_flow: Flow = sums
bare: Future = inc.submit(1)
coroutine: Coroutine[Any, Any, str] = fetch(1)

try:
    total([1])
except (errors.UpstreamError, anabranch.errors.CrashedRun) as error:
    print(error.state)

# -- what must not type-check ----------------------------------------------------------------------


@task(retry=3)  # type: ignore[call-overload, untyped-decorator]  # misspelt
def misspelt() -> None: ...


@task(retries="3")  # type: ignore[call-overload, untyped-decorator]
def wrong_type() -> None: ...


@flow(on_exit="stay")  # type: ignore[call-overload, untyped-decorator]
def wrong_word() -> None: ...


def refused() -> None:
    inc.with_options(timeout_secs=3)  # type: ignore[call-arg]
    number: str = inc(1)  # type: ignore[assignment]
    late: str = inc.submit(1).result()  # type: ignore[assignment]
    many: list[str] = inc.map([1]).result()  # type: ignore[assignment]
    awaited: int = fetch(1)  # type: ignore[assignment]
    inc.map([1], keep="some")  # type: ignore[call-overload]
    inc.map([1], chunk="big")  # type: ignore[call-overload]
    inc.submit(1).results()  # type: ignore[attr-defined]
    wait([inc.submit(1)], return_when="SOMETIMES")  # type: ignore[call-overload]
    print(number, late, many, awaited)
