"""Runners that a user made: blocks in which submits go there, and the end of those that nobody can reach."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import InlineRunner, ProcessRunner, ThreadRunner, context, flow, task
from anabranch import session as sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.gates import Gate

MAKE: dict[str, Callable[[], Any]] = {
    "inline": InlineRunner, "thread": lambda: ThreadRunner(2), "process": lambda: ProcessRunner(1),
}  # fmt: skip


@task
def work(x: int) -> int:
    return x + 1


@task
def twice_below(x: int) -> int:
    return int(work.submit(work.submit(x)).result())


def runner_of(future: Any) -> str:
    """The kind of the runner that a future's run is on."""
    return str(sessions.current().pump.dispatcher.tables.lanes[future._map.sending.lane].capabilities.name)


def closed(runner: Any) -> bool:
    return bool(runner._in_flight.closed if isinstance(runner, ProcessRunner) else runner._closed)


# -- blocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKE)
def test_submits_in_a_block_go_to_its_runner(fresh_session: sessions.Session, kind: str) -> None:
    with MAKE[kind]() as runner:
        one, some, below = work.submit(1), work.map([1, 2]), twice_below.submit(1)
        assert [one.result(), some.result(), below.result(), work(1)] == [2, [2, 3], 3, 2]
        assert {runner_of(one), runner_of(some), runner_of(below)} == {kind}
    assert closed(runner)
    assert runner_of(work.submit(1)) == "thread"


def test_the_innermost_block_counts(fresh_session: sessions.Session) -> None:
    with InlineRunner():
        with ThreadRunner(1):
            assert runner_of(work.submit(1)) == "thread"
        assert runner_of(work.submit(1)) == "inline"


@pytest.mark.parametrize("kind", MAKE)
def test_flows_called_in_a_block_run_there_unless_they_say_where(fresh_session: sessions.Session, kind: str) -> None:
    @flow
    def plain() -> str:
        return runner_of(work.submit(1))

    @flow
    def around() -> str:
        return plain()

    with MAKE[kind]():
        assert plain() == around() == kind
        assert plain.with_options(runner="inline")() == "inline"
    assert plain() == "thread"


def test_a_block_waits_for_what_was_submitted_in_it(
    fresh_session: sessions.Session, gates: Callable[[str], Gate]
) -> None:
    gate = gates("go")

    @task
    def waits(x: int) -> int:
        gate.wait()
        return x

    with ThreadRunner(1) as runner:
        runner.on_leaving(lambda failed: gate.open())
        futures = waits.map(range(3))
    assert [state.name for state in futures.states] == ["Completed"] * 3
    assert futures.result() == [0, 1, 2]


def test_a_block_left_by_an_exception_cancels_what_has_not_begun(
    fresh_session: sessions.Session, gates: Callable[[str], Gate]
) -> None:
    begun, gate = gates("begun"), gates("go")

    @task
    def waits(x: int) -> int:
        begun.open()
        gate.wait()
        return x

    runner = ThreadRunner(1)

    def leave() -> None:
        with runner:
            futures.extend(waits.submit(x) for x in range(3))
            futures[-1].add_done_callback(lambda future: gate.open())  # it is cancelled
            begun.wait()
            raise ValueError("left")

    futures: list[Any] = []
    with pytest.raises(ValueError, match="left"):
        leave()
    assert closed(runner)
    assert {future.state.name for future in futures[1:]} == {"Cancelled"}


# -- runners out of reach -----------------------------------------------------------------------------------


@flow
def job(n: int) -> Any:
    return sum(work.map(range(n)).result())


@pytest.fixture
def unkept_session(fresh_session: sessions.Session) -> sessions.Session:
    """One whose own thread does not look for idle runners: the tests do."""
    fresh_session.keeper.start()
    fresh_session.keeper.stop()
    assert fresh_session.keeper._thread is not None
    fresh_session.keeper._thread.join(20.0)
    return fresh_session


def look_for_unreachable(session: sessions.Session) -> None:
    """As the session does once a second."""
    gc.collect()
    session.pump.flush()  # what futures that have gone left behind is taken
    gc.collect()
    session.runners.close_idle(1000.0)


@pytest.mark.sampled(2, "ten looks for garbage for each")
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_runner_a_run_leaves_nothing_behind(unkept_session: sessions.Session, kind: str) -> None:
    job.with_options(runner=MAKE[kind]())(3)  # what the program itself needs is there
    look_for_unreachable(unkept_session)
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    for _ in range(4):
        runner = MAKE[kind]()
        assert job.with_options(runner=runner)(3) == 6
        workers = [worker.pid for worker in getattr(runner, "_workers", ())]
        del runner
        look_for_unreachable(unkept_session)
        assert unkept_session.runners.known == {}
        for pid in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        for thread in set(threading.enumerate()) - threads:
            thread.join(20.0)
            assert not thread.is_alive()
    assert len(os.listdir("/proc/self/fd")) < files + 13  # as many as one runner of processes has
    assert unkept_session.program.tasks._known == {}


def test_a_runner_that_a_flow_holds_is_within_reach(unkept_session: sessions.Session) -> None:
    held = job.with_options(runner=ThreadRunner(1))
    for _ in range(2):
        held(3)
        look_for_unreachable(unkept_session)
    assert len(unkept_session.runners.known) == 1


def test_a_future_keeps_its_runner_and_value(unkept_session: sessions.Session) -> None:
    kept: list[Any] = []

    @task
    def large(n: int) -> bytes:
        return bytes(n)

    @flow
    def makes() -> int:
        kept.append(large.map([1 << 20]))
        return 1

    makes.with_options(runner=ProcessRunner(1))()
    look_for_unreachable(unkept_session)
    assert [len(value) for value in kept.pop().result()] == [1 << 20]
    look_for_unreachable(unkept_session)
    assert unkept_session.runners.known == {}


def test_a_class_of_runners_is_one_of_its_defaults_kept_warm(unkept_session: sessions.Session) -> None:
    lanes = set()

    @flow(runner=ThreadRunner)
    def f() -> Any:
        future = work.submit(1)
        lanes.add(future._map.sending.lane)
        return future

    assert [f(), f()] == [2, 2]
    assert len(lanes) == 1


def test_tasks_outside_flows_submit_to_the_runner_that_they_run_on(unkept_session: sessions.Session) -> None:
    @task
    def where() -> str:
        assert context.task_run().flow_run_id == ""
        return runner_of(work.submit(1))

    with ThreadRunner(1), InlineRunner():
        assert [where(), where.submit().result()] == ["inline", "inline"]


def test_the_runner_of_a_run_before_has_closed_when_another_one_starts(unkept_session: sessions.Session) -> None:
    """It may hold all that there is of something: Ray's processors. No garbage collection is needed for it."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert job.with_options(runner=ThreadRunner(1))(3) == 6
            assert len(unkept_session.runners.known) == 1
    finally:
        gc.enable()
