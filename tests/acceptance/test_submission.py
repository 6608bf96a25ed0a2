"""Seed 003, "Types of submission": each form, one by one, on every runner."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest

from anabranch import Future, FutureList, State, flow, state, task
from anabranch.core.errors import OptionError


@task
def t1() -> int:
    return 1


@task
def t2() -> int:
    return 2


@task
def bad() -> int:
    raise ValueError("no good")


@task
def bad_if_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


@task
def add_one(x: int) -> int:
    return x + 1


def test_call_returns_the_result(runner: str) -> None:
    @flow
    def forms() -> Any:
        r1 = t1()
        r2 = t2()
        return r1, r2

    assert forms() == (1, 2)


def test_submit_returns_a_future(runner: str) -> None:
    kinds = []

    @flow
    def forms() -> Any:
        f1 = t1.submit()
        f2 = t2.submit()
        kinds.extend([type(f1), type(f2)])
        return f1.result(), f2.result()

    assert forms() == (1, 2)
    assert kinds == [Future, Future]


def test_submit_wait_returns_the_final_state(runner: str) -> None:
    @flow
    def forms() -> str:
        s1 = t1.submit().wait()
        s2 = bad.submit().wait()
        assert isinstance(s1, state.Completed)
        assert isinstance(s2, state.Failed)
        assert s1.is_completed()
        assert s2.is_failed()
        assert s1.result() == 1
        with pytest.raises(ValueError, match="no good"):
            s2.result()
        return "data"

    assert forms() == "data"


def test_submit_return_state_is_equivalent(runner: str) -> None:
    @flow
    def forms() -> str:
        s1 = t1.submit(return_state=True)
        s2 = bad.submit(return_state=True)
        assert isinstance(s1, State)
        assert (s1.name, s2.name) == ("Completed", "Failed")
        assert s1.result() == 1
        assert isinstance(s2.result(raise_on_failure=False), ValueError)
        return "data"

    assert forms() == "data"


def test_get_state_does_not_wait(beside: str, tmp_path: Any) -> None:
    gate = str(tmp_path / "gate")

    @task
    def gated() -> int:
        import os
        import time

        for _ in range(3000):  # at most 30 s; the gate is a file because the task may be in another process
            if os.path.exists(gate):
                return 1
            time.sleep(0.01)
        raise TimeoutError

    @flow
    def forms() -> Any:
        future = gated.submit()
        early = future.get_state()
        assert isinstance(early, State)
        assert not early.is_final()
        assert early.name in ("Pending", "Scheduled", "Running")
        assert not future.state.is_final()
        assert not future.done()
        open(gate, "w").close()
        assert future.wait().is_completed()
        assert future.get_state().is_completed()
        return future

    assert forms() == 1


def test_submit_wait_result(runner: str) -> None:
    @flow
    def forms() -> Any:
        r1 = t1.submit().wait().result()
        r2 = t2.submit().wait().result()
        return r1, r2

    assert forms() == (1, 2)


def test_submit_result_is_equivalent(runner: str) -> None:
    @flow
    def forms() -> Any:
        s1 = t1.submit().result()
        s2 = t2.submit().result()
        return s1, s2

    assert forms() == (1, 2)


def test_result_raises_or_returns_the_exception(runner: str) -> None:
    """The seed says raise_on_failure=True "returns an exception"; its word for that is False (as in Prefect)."""

    @flow
    def forms() -> str:
        with pytest.raises(ValueError, match="no good"):
            bad.submit().result(raise_on_failure=True)
        found = bad.submit().result(raise_on_failure=False)
        assert isinstance(found, ValueError)
        assert str(found) == "no good"
        assert t1.submit().result(raise_on_failure=False) == 1
        return "data"

    assert forms() == "data"


def test_result_has_a_timeout(beside: str, tmp_path: Any) -> None:
    gate = str(tmp_path / "gate")

    @task
    def gated() -> int:
        import os
        import time

        for _ in range(3000):
            if os.path.exists(gate):
                return 1
            time.sleep(0.01)
        raise TimeoutError

    @flow
    def forms() -> Any:
        future = gated.submit()
        with pytest.raises(TimeoutError):
            future.result(timeout=0.02)
        open(gate, "w").close()
        return future

    assert forms() == 1


def test_map_returns_futures(runner: str) -> None:
    @flow
    def forms() -> Any:
        futures = add_one.map([1, 2, 3])
        assert isinstance(futures, FutureList)
        assert len(futures) == 3
        assert all(isinstance(f, Future) for f in futures)
        assert [f.result() for f in futures] == [2, 3, 4]
        return futures

    assert forms() == [2, 3, 4]


def test_map_return_state_waits(runner: str) -> None:
    @flow
    def forms() -> str:
        found = add_one.map([1, 2, 3], return_state=True)
        assert isinstance(found, Sequence)
        assert all(isinstance(s, State) and s.is_completed() for s in found)
        return "data"

    assert forms() == "data"


def test_the_states_of_a_map_give_their_values(runner: str) -> None:
    assert [s.result() for s in add_one.map([1, 2, 3], return_state=True)] == [2, 3, 4]


def test_the_states_of_a_map_give_their_exceptions(runner: str) -> None:
    found = bad_if_two.map([1, 2], return_state=True)
    assert isinstance(found[1].result(raise_on_failure=False), ValueError)


def test_the_result_of_a_map_may_give_exceptions_in_their_places(runner: str) -> None:
    @flow
    def forms() -> list[list[str]]:
        found = bad_if_two.map([1, 2, 3])
        after = add_one.map(found)
        return [[type(x).__name__ for x in futures.result(raise_on_failure=False)] for futures in (found, after)]

    assert forms() == [["int", "ValueError", "int"], ["int", "UpstreamError", "int"]]


def test_all_forms_outside_a_flow(runner: str) -> None:
    assert t1() == 1
    assert t1.submit().result() == 1
    assert t1.submit(return_state=True).is_completed()
    assert t1.submit().wait().result() == 1
    assert add_one.map([1, 2, 3]).result() == [2, 3, 4]
    assert [s.is_completed() for s in add_one.map([1, 2], return_state=True)] == [True, True]


def test_call_return_state(runner: str) -> None:
    @flow
    def forms() -> str:
        good, wrong = t1(return_state=True), bad(return_state=True)
        assert good.is_completed()
        assert good.result() == 1
        assert wrong.is_failed()
        with pytest.raises(ValueError, match="no good"):
            wrong.result()
        return "data"

    assert forms() == "data"


def test_await_a_future(runner: str) -> None:
    import asyncio

    @flow
    async def forms() -> Any:
        return await t1.submit(), await t2.submit()

    assert asyncio.run(forms()) == (1, 2)


def test_a_failure_that_a_state_raised_is_handled(runner: str) -> None:
    """Handled is what reached the flow's code: `.wait().result()` is equivalent to `.result()`, says seed 003."""

    @flow
    def forms() -> None:
        with pytest.raises(ValueError, match="no good"):
            bad.submit().wait().result()

    assert forms(return_state=True).is_completed()


def test_a_flow_without_a_result_bundles_its_task_states(runner: str) -> None:
    """Seed 003: "If no result is returned ... a state that bundles all the task states"; a failure among them fails."""

    @flow
    def good() -> None:
        t1.submit()
        add_one.map([1, 2])

    @flow
    def one_bad() -> None:
        t1.submit()
        bad.submit()
        t2.submit()

    assert good(return_state=True).is_completed()
    ended = one_bad(return_state=True)
    assert ended.is_failed()
    assert ended.message == "1 of 3 task runs failed; first: bad[0]: ValueError"
    with pytest.raises(ValueError, match="no good"):
        one_bad()


# -- options of maps, and tasks that take any keyword ---------------------------------------------------


def test_a_task_that_takes_any_keyword_gets_those_of_maps_too(concurrent: str) -> None:
    @task
    def work(x: int, **options: Any) -> Any:
        return x, options

    mapped = work.map([1, 2], window=3, chunk="c", keep="yes")
    assert mapped.result() == [(x, {"window": 3, "chunk": "c", "keep": "yes"}) for x in (1, 2)]


def test_a_task_has_options_for_its_maps(concurrent: str) -> None:
    @task(keep="none", chunk=2)
    def work(x: int, **options: Any) -> Any:
        return x, options

    dropped = work.map([1])
    dropped.wait()
    assert not dropped._map.keep
    kept = work.with_options(keep="values").map([1])
    assert kept.result() == [(1, {})]
    assert kept._map.sending.chunk_option == 2


def test_options_of_a_call_win_over_the_tasks(concurrent: str) -> None:
    @task(keep="none", chunk=2)
    def work(x: int) -> int:
        return x

    mapped = work.map([1], keep="values", chunk=3)
    assert (mapped.result(), mapped._map.sending.chunk_option) == ([1], 3)


def test_a_plain_wrapper_does_not_hide_the_options_of_maps(concurrent: str) -> None:
    def timed(fn: Any) -> Any:
        return functools.wraps(fn)(lambda *args, **kwargs: fn(*args, **kwargs))

    mapped = task(timed(lambda x: x)).map([1], chunk=3)
    assert (mapped.result(), mapped._map.sending.chunk_option) == ([1], 3)


@pytest.mark.parametrize("given", [{"keep": "some"}, {"chunk": 0}, {"window": -1}])
def test_bad_options_for_maps_are_told_at_decoration(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(given))):
        task(**given)(lambda x: x)
