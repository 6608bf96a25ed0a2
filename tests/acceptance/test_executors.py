"""Runners as `concurrent.futures.Executor`, as other libraries use them."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import weakref
from concurrent.futures import CancelledError, Executor, Future, as_completed, wait
from typing import TYPE_CHECKING, Any

import pytest
from tqdm import tqdm

import anabranch.integrations
from anabranch import InlineRunner, ProcessRunner, ThreadRunner, flow, task
from anabranch import session as sessions
from anabranch.driver import call_lines
from tests.acceptance.test_own_runners import closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.gates import Gate

MAKE: dict[str, Callable[[], Any]] = {"thread": lambda: ThreadRunner(1), "process": lambda: ProcessRunner(1)}
KINDS = ["thread", pytest.param("process", marks=pytest.mark.sampled(3, "workers are started for each"))]
SECONDS = 30.0  # longest wait for a thing that must come


def triple(x: int) -> int:
    return 3 * x


def odd(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"even: {x}")
    return x


def given(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def on_my_own(*args: Any, **options: Any) -> Executor:
    return anabranch.integrations.Executor(*args, **options)


# -- what all executors do ----------------------------------------------------------------------------------


def test_calls_and_maps(runner: str) -> None:
    with on_my_own() as executor:
        futures = [executor.submit(triple, x) for x in range(20)]
        assert all(isinstance(one, Future) for one in futures)
        assert sorted(one.result(SECONDS) for one in as_completed(futures, SECONDS)) == [3 * x for x in range(20)]
        assert executor.submit(given, 1, self=2, fn=3).result(SECONDS) == ((1,), {"self": 2, "fn": 3})
        assert list(executor.map(triple, range(50))) == [3 * x for x in range(50)]
        assert list(executor.map(pow, range(9), range(9), chunksize=2)) == [x**x for x in range(9)]
        assert list(executor.map(triple, [])) == []
        failed = executor.submit(odd, 2)
        assert wait([failed], SECONDS).done == {failed}
        with pytest.raises(ValueError, match="even: 2"):
            failed.result()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(triple, 1)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(triple, [1])


def test_a_map_raises_where_the_function_did(runner: str) -> None:
    with on_my_own() as executor:
        values = executor.map(odd, [1, 3, 4, 5])
        assert [next(values), next(values)] == [1, 3]
        with pytest.raises(ValueError, match="even: 4"):
            next(values)
        assert list(values) == []


def test_in_a_running_loop(beside: str) -> None:
    async def both() -> list[int]:
        loop = asyncio.get_running_loop()
        with on_my_own() as executor:
            calls = (loop.run_in_executor(executor, triple, x) for x in range(3))
            return list(await asyncio.wait_for(asyncio.gather(*calls), SECONDS))

    assert asyncio.run(both()) == [0, 3, 6]


def test_under_a_progress_bar(concurrent: str) -> None:
    said = io.StringIO()
    with on_my_own() as executor:
        assert sum(tqdm(executor.map(triple, range(10)), total=10, file=said)) == 135
    assert "10/10" in said.getvalue()


def test_nothing_is_shown(concurrent: str, caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    with on_my_own() as executor:
        wait([executor.submit(odd, x) for x in range(30)])
        with pytest.raises(ValueError, match="even: 0"):
            list(executor.map(odd, range(30)))
    sessions.current().pump.callback_thread.drain(SECONDS)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


# -- one worker ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_not_begun_is_cancelled(
    fresh_session: sessions.Session, kind: str, gates: Callable[[str], Gate]
) -> None:
    begun, go = gates("begun"), gates("go")

    def hold() -> str:
        begun.open()
        go.wait()
        return "held"

    with MAKE[kind]().executor(chunk=1) as executor:
        held = executor.submit(hold)
        begun.wait()
        later = [executor.submit(triple, x) for x in range(10)]
        mapped = executor.map(triple, range(10))
        assert held.running()
        assert not held.cancel()
        assert not held.cancelled()
        assert later[-1].cancel()
        assert later[-1].cancelled()
        assert not later[-1].running()
        executor.shutdown(wait=False, cancel_futures=True)
        assert later[-2].cancelled()
        go.open()
    assert held.result(SECONDS) == "held"
    assert all(one.cancelled() or one.result(SECONDS) == 3 * x for x, one in enumerate(later))
    with pytest.raises(CancelledError):
        list(mapped)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_that_comes_too_late_cancels_its_rest(
    fresh_session: sessions.Session, kind: str, gates: Callable[[str], Gate], marks: Any
) -> None:
    go = gates("go")

    def note(x: int) -> None:
        if x == 0:
            go.wait()
        marks.add(x)

    with MAKE[kind]().executor(chunk=1) as executor:
        values = executor.map(note, range(10), timeout=0.05)
        with pytest.raises(TimeoutError):
            next(values)
        go.open()
    assert len(marks.read()) <= 2  # what was with the worker


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_the_executor_is_that_of_a_runner_that_nothing_else_has(
    fresh_session: sessions.Session, kind: str
) -> None:
    own = MAKE[kind]()
    with own.executor() as executor:
        assert executor.submit(triple, 1).result(SECONDS) == 3
    assert not closed(own)
    with own.executor() as executor:
        assert executor.submit(triple, 2).result(SECONDS) == 6
    twins = [used.runner for used in fresh_session.runners.known.values() if used.runner.__dict__ is own.__dict__]
    del own
    with MAKE[kind]().executor() as executor:
        pass
    assert closed(twins[0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_executor_that_is_gone_does_what_it_has_taken(fresh_session: sessions.Session, kind: str) -> None:
    executor = MAKE[kind]().executor()
    futures = [executor.submit(triple, x) for x in range(5)]
    values = executor.map(triple, range(5))
    ref = weakref.ref(executor)
    del executor
    assert ref() is None
    assert [one.result(SECONDS) for one in futures] == list(values) == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("kind", KINDS)
def test_a_runners_block_waits_for_its_executors(
    fresh_session: sessions.Session, kind: str, gates: Callable[[str], Gate]
) -> None:
    go = gates("go")

    def waits() -> int:
        go.wait()
        return 1

    with MAKE[kind]() as own:
        executor = own.executor()
        future = executor.submit(waits)
        go.open()
    assert future.done()
    assert future.result() == 1
    assert closed(own)


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_values_are_not_kept(fresh_session: sessions.Session, kind: str) -> None:
    class Held:
        def __reduce__(self) -> Any:
            return int, ()

    gone = threading.Event()
    gc.disable()
    try:
        with MAKE[kind]().executor() as executor:
            held = Held()
            ref = weakref.ref(held, lambda _: gone.set())
            executor.submit(given, held)
            del held
            assert gone.wait(SECONDS)
            assert ref() is None
            for value in executor.map(set, [(), ()]):
                ref = weakref.ref(value)
                del value
                assert ref() is None
    finally:
        gc.enable()


def test_a_long_series_is_begun_anew(fresh_session: sessions.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_lines, "LONGEST", 10)
    with ProcessRunner(1).executor() as executor:
        assert [executor.submit(triple, x).result(SECONDS) for x in range(55)] == [3 * x for x in range(55)]
        assert len(fresh_session.pump.inspect(lambda: list(fresh_session.pump.dispatcher.tables.maps))) <= 2


# -- threads ------------------------------------------------------------------------------------------------


def test_calls_on_threads_may_wait_for_each_other(fresh_session: sessions.Session) -> None:
    with ThreadRunner(3).executor() as executor:
        for _ in range(20):
            meet = threading.Barrier(3)
            assert sorted(executor.map(lambda x, meet=meet: meet.wait(SECONDS), range(3))) == [0, 1, 2]
            calls = [executor.submit(meet.wait, SECONDS) for _ in range(3)]
            assert sorted(one.result(SECONDS) for one in calls) == [0, 1, 2]


def test_calls_inline_may_wait_for_calls_of_their_own(fresh_session: sessions.Session) -> None:
    with InlineRunner().executor() as executor:
        nested = executor.submit(lambda: executor.submit(triple, 1).result(SECONDS) + sum(executor.map(triple, [2, 3])))
        assert nested.result(SECONDS) == 18
        assert list(executor.map(lambda n: list(executor.map(triple, range(n))), range(3))) == [[], [0], [0, 3]]


def test_an_exception_on_a_thread_is_the_one_that_was_raised(fresh_session: sessions.Session) -> None:
    error = KeyError("mine")

    def fail(x: object) -> None:
        raise error

    with ThreadRunner(1).executor() as executor:
        assert executor.submit(fail, 1).exception(SECONDS) is error
        with pytest.raises(KeyError) as caught:
            next(executor.map(fail, [1]))
    assert caught.value is error
    assert caught.traceback[-1].name == "fail"


def test_flows_on_the_same_threads_get_their_turn(fresh_session: sessions.Session) -> None:
    own = ThreadRunner(1)
    stop = threading.Event()

    @task
    def once() -> str:
        return "had its turn"

    @flow(runner=own)
    def beside() -> str:
        return once.submit().result()

    with own.executor() as executor:
        executor.map(lambda _: stop.is_set() or stop.wait(0.001), range(1_000_000))
        assert beside() == "had its turn"
        stop.set()


def test_a_call_runs_where_the_runner_runs_it(fresh_session: sessions.Session) -> None:
    with InlineRunner().executor() as executor:
        assert executor.submit(threading.get_ident).result() == threading.get_ident()


def test_callbacks_may_wait_for_another_executor(fresh_session: sessions.Session) -> None:
    found: Future[int] = Future()
    with ProcessRunner(1).executor() as one, ProcessRunner(1).executor() as other:
        first = one.submit(triple, 1)
        first.add_done_callback(lambda _: found.set_result(other.submit(triple, 2).result(SECONDS)))
        assert found.result(SECONDS) == 6


# -- details ------------------------------------------------------------------------------------------------


def test_a_buffered_map_pulls_so_many(concurrent: str) -> None:
    pulled: list[int] = []

    def numbers() -> Iterator[int]:
        for x in range(10):
            pulled.append(x)
            yield x

    with on_my_own() as executor:
        values = executor.map(triple, numbers(), buffersize=3)
        assert len(pulled) == 3
        assert next(values) == 0
        assert len(pulled) == 4
        assert list(values) == [3 * x for x in range(1, 10)]
        for wrong, kind in ((0, ValueError), ("2", TypeError)):
            with pytest.raises(kind, match="buffersize must be"):
                executor.map(triple, [1], buffersize=wrong)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="chunksize must be >= 1"):
            executor.map(triple, [1], chunksize=0)


@pytest.mark.parametrize("kind", [ThreadRunner, ProcessRunner])
def test_a_runner_without_workers_is_refused_in_cpythons_words(kind: Any) -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"max_workers must be greater than 0, got {wrong}"):
            kind(max_workers=wrong)
