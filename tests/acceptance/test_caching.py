"""What a task's cache does over its runs: values that expire or are made anew, and two runs of one key at once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, ThreadRunner, cache_policies, flow, settings, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.results.disk import DiskStore
from anabranch.results.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clock import Clock

SOON = 30.0  # seconds, at most, for what comes at once unless something is broken


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does; there is no event to wait for."""
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.005)


@pytest.fixture(params=["memory", "disk"])
def expiring(
    request: pytest.FixtureRequest,
    fresh_session: sessions.Session,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Clock:
    """The session's store, and the attempts that write into it, have a clock that is moved by hand."""
    monkeypatch.setattr("anabranch.engine.attempt.time", clock)
    store = MemoryStore(clock=clock) if request.param == "memory" else DiskStore(tmp_path / "results", clock=clock)
    fresh_session._store = store
    return clock


@pytest.mark.parametrize("how", ["submit", "call", "map"])
def test_a_cached_value_expires(expiring: Clock, how: str) -> None:
    runs: list[int] = []

    @task(cache_policy=cache_policies.INPUTS, cache_expiration=60)
    def work(x: int) -> int:
        runs.append(x)
        return len(runs)

    def once() -> tuple[str, int]:
        states = {
            "submit": lambda: work.submit(5, return_state=True),
            "call": lambda: work(5, return_state=True),
            "map": lambda: work.map([5], return_state=True)[0],
        }
        state = states[how]()
        return state.name, state.result()

    assert once() == ("Completed", 1)
    expiring.now += 50
    assert once() == ("Cached", 1)
    expiring.now += 20  # it is not used longer for having been read
    assert once() == ("Completed", 2)
    assert once() == ("Cached", 2)


def test_without_an_expiration_a_value_stays(expiring: Clock) -> None:
    @task(cache_policy=cache_policies.INPUTS)
    def work(x: int) -> int:
        return x

    assert work.submit(5, return_state=True).name == "Completed"
    expiring.now += 3e9
    assert work.submit(5, return_state=True).name == "Cached"


def test_an_expiration_of_nothing_expires_at_once(expiring: Clock) -> None:
    @task(cache_policy=cache_policies.INPUTS, cache_expiration=0)
    def work(x: int) -> int:
        return x

    expiring.now += 1
    assert [work.submit(5, return_state=True).name for _ in range(2)] == ["Completed"] * 2


@pytest.mark.parametrize("how", ["submit", "call"])
def test_refresh_cache_runs_again_and_stores_the_new_value(runner: str, how: str, marks: Any) -> None:
    @task(cache_key_fn=lambda run, parameters: parameters["key"])
    def work(key: str) -> int:
        marks.add("ran")
        return len(marks.read())

    again = work.with_options(refresh_cache=True)

    @flow
    def main() -> list[tuple[str, int]]:
        found = []
        for one in (work, work, again, work, again, work):
            path = f"{marks.path} {how}"
            state = one.submit(path, return_state=True) if how == "submit" else one(path, return_state=True)
            found.append((state.name, state.result()))
        return found

    new, cached = "Completed", "Cached"
    assert main() == [(new, 1), (cached, 1), (new, 2), (cached, 2), (new, 3), (cached, 3)]


# -- two runs of one key -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["thread", "process"])
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sessions.Session]:
    made = ThreadRunner(max_workers=1) if request.param == "thread" else ProcessRunner(max_workers=1)
    chosen = settings.load({}, home=tmp_path_factory.mktemp("home"), runner=made, progress=False)
    session = sessions.Session(chosen, records=MemoryRecords())
    yield session
    session.close()


@pytest.fixture
def one_slot(narrow: sessions.Session) -> Iterator[None]:
    """A session whose runner runs one thing at a time."""
    before = sessions.use(narrow)
    yield
    sessions.use(before)


class Held:
    """A call of a cached task, in a thread of its own, that holds the lock of its key until it is let go."""

    def __init__(self, marks: Any, end: Exception | None = None) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.state: Any = None

        @task(cache_key_fn=lambda run, parameters: marks.path)
        def work() -> str:
            self.entered.set()
            assert self.go.wait(SOON)
            if end is not None:
                raise end
            return "the first one's"

        self.thread = threading.Thread(target=lambda: setattr(self, "state", work(return_state=True)))
        self.thread.start()
        assert self.entered.wait(SOON)

    def let_go(self) -> None:
        self.go.set()
        self.thread.join(SOON)


def second(marks: Any) -> Any:
    @task(cache_key_fn=lambda run, parameters: marks.path, state_handlers=[lambda obj, old, new: marks.add(new.name)])
    def work() -> str:
        marks.add("ran")
        return "the second one's"

    return work


def test_who_waits_for_anothers_value_holds_no_worker(one_slot: None, marks: Any) -> None:
    @task
    def other(n: int) -> int:
        return n

    held = Held(marks)
    try:
        waiting = second(marks).submit()
        until(lambda: "AwaitingCache" in marks.read(), "AwaitingCache")
        # The only slot is free for others, one after another, as often as the waiting run looks.
        assert [other.submit(n).result(timeout=SOON) for n in range(5)] == list(range(5))
        assert not waiting.done()
    finally:
        held.let_go()
    ended = waiting.wait(timeout=SOON)
    assert (ended.name, ended.result()) == ("Cached", "the first one's")
    assert held.state.name == "Completed"
    assert "ran" not in marks.read()


def test_what_the_first_one_could_not_make_the_second_makes(one_slot: None, marks: Any) -> None:
    held = Held(marks, ValueError("no good"))
    try:
        waiting = second(marks).submit()
        until(lambda: "AwaitingCache" in marks.read(), "AwaitingCache")
    finally:
        held.let_go()
    ended = waiting.wait(timeout=SOON)
    assert (ended.name, ended.result()) == ("Completed", "the second one's")
    assert held.state.is_failed()
    assert marks.read().count("ran") == 1


def test_waiting_for_the_cache_spends_no_retry(one_slot: None, marks: Any) -> None:
    held = Held(marks)
    try:
        waiting = second(marks).with_options(retries=1).submit()
        until(lambda: marks.read().count("AwaitingCache") >= 3, "the third look")
    finally:
        held.let_go()
    assert waiting.wait(timeout=SOON).attempt == 1
    assert "Retrying" not in marks.read()


def test_of_many_runs_of_one_key_one_runs(concurrent: str, marks: Any) -> None:
    @task(cache_key_fn=lambda run, parameters: marks.path)
    def work(n: int) -> int:
        marks.add("ran")
        return 5

    @flow
    def main() -> list[str]:
        found = work.map(range(12), chunk=1).wait()
        assert {state.result() for state in found} == {5}
        return sorted(state.name for state in found)

    assert main() == ["Cached"] * 11 + ["Completed"]
    assert marks.read() == ["ran"]
