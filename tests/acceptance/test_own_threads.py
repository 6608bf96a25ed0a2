"""Threads of the program's own inside runs belong to them, and context variables reach tasks in the same process."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import context, flow, get_run_logger, tags, task
from anabranch import session as sessions
from anabranch.core.errors import MissingContextError
from tests.acceptance.gates import SOON

if TYPE_CHECKING:
    from collections.abc import Callable

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


@task
def who() -> tuple[str, tuple[str, ...]]:
    run = context.task_run()
    return run.flow_run_name, run.tags


@task
def owner(x: int = 0) -> str:
    return context.task_run().flow_run_name


def in_a_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join(SOON)
    return found.pop()


def in_a_pool(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(SOON)


def in_a_thread_of_a_thread(call: Callable[[], Any]) -> Any:
    return in_a_thread(lambda: in_a_pool(call))


THREADS = [in_a_thread, in_a_pool, in_a_thread_of_a_thread]
WORK: dict[str, Callable[[], Any]] = {
    "submit": lambda: owner.submit().result(),
    "map": lambda: owner.map([1]).result()[0],
    "call": owner,
    "reduce": lambda: owner.map([1, 2]).reduce(lambda a, b: a if a == b else "several").result(),
}


@pytest.mark.parametrize("thread", THREADS)
@pytest.mark.parametrize("work", list(WORK))
def test_what_threads_of_a_flow_submit_is_part_of_it(
    runner: str, thread: Callable[[Callable[[], Any]], Any], work: str
) -> None:
    @flow(flow_run_name="of-threads", tags=("of-flow",))
    def main() -> Any:
        assert thread(lambda: who.submit().result()) == ("of-threads", ("of-flow",))
        return thread(WORK[work])

    assert main() == "of-threads"


@pytest.mark.parametrize("thread", THREADS)
def test_what_threads_of_a_task_do_is_part_of_it(runner: str, thread: Callable[[Callable[[], Any]], Any]) -> None:
    @task
    def spreads() -> Any:
        def part() -> Any:
            get_run_logger().info("from a thread")
            return context.task_run().name, owner.submit().result(), owner()

        return context.task_run().name, thread(part)

    @flow(flow_run_name="of-threads")
    def main() -> Any:
        return [spreads.submit().result(), spreads()]

    for name, (seen, submitted, called) in main():
        assert (seen, submitted) == (name, "of-threads")
        assert called == "of-threads"


def test_a_task_with_the_only_slot_waits_for_threads_that_submit(tmp_path: Any) -> None:
    from anabranch import ThreadRunner

    @task
    def spreads() -> Any:
        with ThreadPoolExecutor(2) as pool:
            return [f.result(SOON) for f in [pool.submit(lambda: owner.submit().result(SOON)) for _ in range(3)]]

    @flow(runner=ThreadRunner(1), flow_run_name="narrow")
    def main() -> Any:
        return spreads.submit().result()

    assert main() == ["narrow"] * 3


def test_flows_that_threads_of_a_flow_call_are_its_children(threads: str) -> None:
    parents: list[str] = []

    @flow
    def child() -> None:
        parents.append(context.flow_run().id)

    @flow
    def main() -> str:
        in_a_thread(child)
        in_a_thread(lambda: child.submit().result())
        return context.flow_run().id

    run = main()
    records = sessions.current().records
    rows = [records.flow_run(one) for one in parents]
    assert [row.parent_run for row in rows if row is not None] == [run, run]


def test_executors_of_a_loop_are_threads_of_its_flow(runner: str) -> None:
    @flow(flow_run_name="awaits")
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        plain = await loop.run_in_executor(None, lambda: owner.submit().result())
        return plain, await asyncio.to_thread(lambda: owner.submit().result())

    assert asyncio.run(main()) == ("awaits", "awaits")


def test_a_function_is_carried_through_a_pool_that_is_older(runner: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        pool.submit(lambda: None).result()

        @task
        def within(x: int) -> Any:
            return list(pool_of_here().map(context.carried(lambda _: context.task_run().index), range(3)))

        @flow(flow_run_name="carries")
        def main() -> Any:
            VAR.set("mine")
            with tags("block"):
                found = list(pool.map(context.carried(lambda _: (who.submit().result(), VAR.get())), range(3)))
            return found, within.map([0, 1], chunk=2).result()

        found, inner = main()
    assert found == [(("carries", ("block",)), "mine")] * 3
    assert inner == [[0] * 3, [1] * 3]


def pool_of_here() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


def test_a_thread_that_outlives_its_run_belongs_to_none(threads: str) -> None:
    gate = threading.Event()
    seen: list[Any] = []

    def late() -> None:
        assert gate.wait(SOON)
        with pytest.raises(MissingContextError):
            context.task_run()
        with pytest.raises(MissingContextError):
            get_run_logger()
        seen.append(owner.submit().result())

    began: list[threading.Thread] = []

    def begin() -> None:
        began.append(threading.Thread(target=late))
        began[0].start()

    @flow
    def main() -> None:
        begin()

    for start in (main, task(begin), lambda: task(begin).submit().wait()):
        began.clear()
        gate.clear()
        start()  # type: ignore[operator]
        gate.set()
        began[0].join(SOON)
    assert seen == ["", "", ""]


def test_a_submit_that_has_lost_its_flow_says_so_once(threads: str, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(1, "older") as pool, caplog.at_level(logging.WARNING):
        pool.submit(lambda: None).result()

        @flow
        def main() -> Any:
            return [pool.submit(lambda: owner.submit().result()).result() for _ in range(3)]

        assert main() == ["", "", ""]
    (said,) = [r.getMessage() for r in caplog.records if "belongs to no run" in r.getMessage()]
    assert "'older_0'" in said
    assert "context.carried" in said


def test_the_main_program_is_not_told_while_a_flow_runs_beside_it(
    threads: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    @flow
    def beside() -> None:
        assert gate.wait(SOON)

    with caplog.at_level(logging.WARNING):
        running = beside.submit()
        assert owner.submit().result() == ""
        gate.set()
        running.result()
    assert not [r for r in caplog.records if "belongs to no run" in r.getMessage()]


# -- context variables -------------------------------------------------------------------------------


@pytest.fixture(params=["inline", "thread"])
def near(pool: Any, request: pytest.FixtureRequest) -> Any:
    """Runners whose tasks run in the driver's process."""
    before = sessions.use(pool(request.param))
    yield request.param
    sessions.use(before)


@task
def var(x: Any = None) -> str:
    return VAR.get()


@task
async def awaited_var(x: Any = None) -> str:
    await asyncio.sleep(0)
    return VAR.get()


@task(retries=1)
def var_of_the_second_attempt(seen: list[str]) -> str:
    seen.append(VAR.get())
    if len(seen) == 1:
        raise ValueError("once")
    return VAR.get()


@pytest.mark.parametrize("one", [var, awaited_var])
def test_context_variables_reach_tasks_as_they_were_at_the_submit(near: str, one: Any) -> None:
    @flow
    def main() -> Any:
        futures = []
        for n in range(20):
            VAR.set(f"v{n}")
            futures.append(one.submit())
            if n % 3 == 0:
                futures.append(one.submit())
        VAR.set("mapped")
        mapped = one.map(range(4), chunk=2)
        onward = one.map(one.map(range(3)))
        VAR.set("later")
        return [f.result() for f in futures], mapped.result(), onward.result(), one.submit(one.submit()).result()

    single, mapped, onward, chained = main()
    assert single == [f"v{n}" for n in range(20) for _ in range(2 if n % 3 == 0 else 1)]
    assert (mapped, onward, chained) == (["mapped"] * 4, ["mapped"] * 3, "later")


def test_stages_of_one_chunk_have_each_its_own_context(near: str) -> None:
    @flow
    def main() -> Any:
        VAR.set("first")
        first = var.map(range(6))
        VAR.set("second")
        second = task(lambda seen: (seen, VAR.get())).map(first)
        third = task(_with_var).map(second)
        return third.result()

    assert main() == [(("first", "second"), "second")] * 6


async def _with_var(seen: Any) -> Any:
    return seen, VAR.get()


def test_a_retry_has_the_context_of_the_submit(near: str) -> None:
    seen: list[str] = []

    @flow
    def main() -> Any:
        var.submit().wait()
        VAR.set("of the submit")
        future = var_of_the_second_attempt.submit(seen)
        VAR.set("later")
        return future.result()

    assert main() == "of the submit"


def test_what_a_task_sets_is_its_own(near: str) -> None:
    @task
    def sets() -> None:
        VAR.set("of the task")

    @flow
    def main() -> Any:
        VAR.set("of the flow")
        sets.submit().wait()
        return VAR.get(), var.submit().result()

    assert main() == ("of the flow", "of the flow")


class Unequal:
    """An object that must not be compared."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = object.__hash__


def test_values_of_variables_are_not_asked_anything(near: str) -> None:
    other: contextvars.ContextVar[Any] = contextvars.ContextVar("other")

    @task
    def kept() -> Any:
        return other.get()

    @flow
    def main() -> Any:
        values = [Unequal() for _ in range(5)]
        found = []
        for value in values:
            other.set(value)
            found.append(kept.submit().result())
            with tags("t"):
                found.append(kept.submit().result())
        return all(a is b for a, b in zip(found[::2], values, strict=True))

    assert main()


def test_contexts_of_runs_that_have_ended_are_let_go(fresh_session: Any) -> None:
    from anabranch.core import carried

    @flow
    def main() -> int:
        for n in range(2 * carried.PRUNE_FROM + 10):
            VAR.set(f"v{n}")
            assert var.submit().result() == f"v{n}"
        (map,) = [m for m in fresh_session.scopes.known[context.flow_run().id].endings.maps if m.spec.name == "var"]
        return len(map.header.carried._others)

    assert main() <= carried.PRUNE_FROM + 10
