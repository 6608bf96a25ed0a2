"""Runners that are shared by name stay warm between flows, and are closed when nobody used them for `runner_idle`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ThreadRunner, flow, settings, task
from anabranch import session as sessions
from anabranch.core.errors import ResumeError, RunnerError
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clock import Clock

IDLE = 100.0


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., sessions.Session]]:
    made: list[sessions.Session] = []
    before = sessions.use(None)

    def session(**chosen: Any) -> sessions.Session:
        given = {"home": tmp_path, "runner": "thread", "runner_idle": IDLE, "progress": False, **chosen}
        made.append(sessions.Session(settings.load({}, **given), records=MemoryRecords()))
        sessions.use(made[-1])
        return made[-1]

    yield session
    sessions.use(before)
    for one in made:
        one.close()


@pytest.fixture
def time_of_sessions(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What sessions take for the time since the machine's start; moved by hand."""
    monkeypatch.setattr("anabranch.driver.runner_pool.time", clock)
    return clock


@task
def one() -> int:
    return 1


@flow
def main() -> Any:
    return one.submit()


def is_closed(runner: Any) -> bool:
    try:
        runner.submit([])
    except RunnerError:
        return True
    return False


NAMES = ["inline", "thread", "process"]
DASK = pytest.param("dask", marks=[pytest.mark.dask, pytest.mark.sampled(3, "a cluster of its own")])
# And no Ray: a process has one, and the session that the other tests share has taken all its processors.


@pytest.mark.parametrize("name", [*NAMES, DASK])
def test_a_shared_runner_stays_warm_and_is_closed_when_idle(opened: Any, time_of_sessions: Clock, name: str) -> None:
    here = opened(runner=name)
    assert main() == 1
    first = here.runners.known[name].runner
    time_of_sessions.now += IDLE - 1
    here.runners.close_idle(IDLE)
    assert main() == 1
    assert here.runners.known[name].runner is first
    time_of_sessions.now += IDLE - 1  # it counts from its last use
    here.runners.close_idle(IDLE)
    assert not is_closed(first)
    time_of_sessions.now += 2
    here.runners.close_idle(IDLE)
    assert is_closed(first)
    assert here.runners.known == {}


@pytest.mark.parametrize("name", NAMES)  # three clusters, one behind the other, would take long and say no more
def test_a_new_one_is_made_when_it_is_wanted_again(opened: Any, time_of_sessions: Clock, name: str) -> None:
    here = opened(runner=name)
    seen = []
    for _ in range(3):
        assert main() == 1
        seen.append(here.runners.known[name].runner)
        time_of_sessions.now += IDLE + 1
        here.runners.close_idle(IDLE)
    assert len({id(runner) for runner in seen}) == 3
    assert all(is_closed(runner) for runner in seen)


def test_a_runner_in_use_is_not_idle_however_long_it_takes(opened: Any, time_of_sessions: Clock) -> None:
    here = opened()

    @flow
    def long() -> Any:
        first = one.submit().result()
        time_of_sessions.now += 100 * IDLE
        here.runners.close_idle(IDLE)
        assert main() == 1, "a subflow shares it, and leaves it to the flow around"
        time_of_sessions.now += 100 * IDLE
        here.runners.close_idle(IDLE)
        return first + one.submit().result()

    assert long() == 2


def test_a_run_that_could_not_begin_does_not_keep_its_runner(opened: Any, time_of_sessions: Clock) -> None:
    here = opened()

    @flow(resumable=True)
    def held(lock: Any) -> None:
        pass

    with pytest.raises(ResumeError, match="Cannot store the parameters of a resumable flow"):
        held(threading.Lock())
    time_of_sessions.now += IDLE + 1
    here.runners.close_idle(IDLE)
    assert here.runners.known == {}


def test_a_program_without_flows_keeps_its_runner(opened: Any, time_of_sessions: Clock) -> None:
    """Submits outside any flow have no end at which the runner could be left."""
    here = opened()
    assert one.submit().result() == 1
    time_of_sessions.now += 100 * IDLE
    here.runners.close_idle(IDLE)
    assert one.submit().result() == 1


def test_a_users_own_runner_is_the_users_to_close(opened: Any, time_of_sessions: Clock) -> None:
    with ThreadRunner(max_workers=1) as own:
        here = opened(runner=own)
        assert main() == 1
        time_of_sessions.now += 100 * IDLE
        here.runners.close_idle(IDLE)
        assert not is_closed(own)
        assert main() == 1


def test_the_session_looks_by_itself(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = threading.Event()
    close = ThreadRunner.close

    def noted(self: ThreadRunner, **how: Any) -> None:
        close(self, **how)
        closed.set()

    monkeypatch.setattr(ThreadRunner, "close", noted)
    here = opened(runner_idle=0.0)
    assert main() == 1
    assert closed.wait(30)
    assert main() == 1
    assert not here.closed
