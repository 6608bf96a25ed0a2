"""What a task's cache does over its runs: values that expire or are made anew, and two runs of one key at once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import cache_policies, flow, task
from anabranch.results.disk import DiskStore
from anabranch.results.memory import MemoryStore
from tests.acceptance.gates import SOON, until

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch import session as sessions
    from tests.clock import Clock

HOW = {
    "submit": lambda work, x: work.submit(x, return_state=True),
    "call": lambda work, x: work(x, return_state=True),
    "map": lambda work, x: work.map([x], return_state=True)[0],
}


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
    fresh_session.stores._store = store
    return clock


@pytest.mark.parametrize("how", list(HOW))
def test_a_cached_value_expires(expiring: Clock, how: str, marks: Any) -> None:
    @task(cache_policy=cache_policies.INPUTS, cache_expiration=60)
    def work(x: int) -> int:
        marks.add(x)
        return len(marks.read())

    def once() -> tuple[str, int]:
        state = HOW[how](work, 5)
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


def test_a_value_expires_in_real_time(runner: str, marks: Any) -> None:
    """By the clock of whoever stored it: it is made anew, but not before its time, however often it is read."""
    short = 0.25

    @task(cache_key_fn=lambda run, parameters: parameters["key"])
    def work(key: str) -> int:
        marks.add(f"{key} {time.time()}")
        return sum(mark.startswith(key) for mark in marks.read())

    def made_anew(how: str) -> bool:
        found = 0
        for seconds in (3600, short):
            state = HOW[how](work.with_options(cache_expiration=seconds), f"{marks.path} {how} {seconds}")
            found = state.result()
        return found > 1

    for how in HOW:
        until(lambda how=how: made_anew(how), "a new value")
        began = [float(mark.split()[-1]) for mark in marks.read() if f" {how} {short} " in mark]
        assert len(began) == 2
        assert began[1] - began[0] >= short, how
    assert len(marks.read()) == 3 * len(HOW), "what is to stay an hour was made once"


def test_an_expiration_of_nothing_expires_at_once(expiring: Clock) -> None:
    @task(cache_policy=cache_policies.INPUTS, cache_expiration=0)
    def work(x: int) -> int:
        return x

    expiring.now += 1
    assert [work.submit(5, return_state=True).name for _ in range(2)] == ["Completed"] * 2


def test_an_expiration_of_nothing_expires_at_once_in_real_time(runner: str, marks: Any) -> None:
    @task(cache_key_fn=lambda run, parameters: marks.path, cache_expiration=0)
    def work(x: int) -> int:
        return x

    @flow
    def main() -> list[str]:
        return [state(work, 5).name for state in HOW.values()]

    assert main() == ["Completed"] * 3


@pytest.mark.parametrize("how", list(HOW))
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
            state = HOW[how](one, f"{marks.path} {how}")
            found.append((state.name, state.result()))
        return found

    new, cached = "Completed", "Cached"
    assert main() == [(new, 1), (cached, 1), (new, 2), (cached, 2), (new, 3), (cached, 3)]


# -- two runs of one key -------------------------------------------------------------------------

CROWD = 8  # more than any runner here has slots


class Held:
    """A call of a cached task, in a thread of its own, that holds the lock of its key until it is let go."""

    def __init__(self, marks: Any, end: Exception | None = None) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.state: Any = None

        @task(cache_key_fn=lambda run, parameters: marks.path)
        def work() -> str:
            self.entered.set()
            self.go.wait()  # no limit: an engine that has to start may take as long as one
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
    """A task of the same key; it says which of its runs met the lock, and when one computes the value itself."""

    def note(obj: Any, old: Any, new: Any) -> None:
        marks.add(f"{new.name} {new.run_id}")

    @task(cache_key_fn=lambda run, parameters: marks.path, state_handlers=[note])
    def work() -> str:
        marks.add("ran")
        return "the second one's"

    return work


def looks(marks: Any) -> list[str]:
    """The runs that met the lock, once for each time they did."""
    return [mark.split()[1] for mark in marks.read() if mark.startswith("AwaitingCache ")]


def test_who_waits_for_anothers_value_holds_no_worker(beside: str, marks: Any) -> None:
    @task
    def other(n: int) -> int:
        return n

    assert other.submit(-1).result() == -1  # its workers are there
    held, work = Held(marks), second(marks)
    try:
        waiting = [work.submit() for _ in range(CROWD)]
        until(lambda: len(set(looks(marks))) == CROWD, "AwaitingCache")
        # All slots are free for others, one after another, as often as the waiting runs look.
        assert [other.submit(n).result(timeout=SOON) for n in range(5)] == list(range(5))
        assert not any(future.done() for future in waiting)
    finally:
        held.let_go()
    ended = [future.wait(timeout=SOON) for future in waiting]
    assert {(state.name, state.result()) for state in ended} == {("Cached", "the first one's")}
    assert held.state.name == "Completed"
    assert "ran" not in marks.read()


def test_what_the_first_one_could_not_make_the_second_makes(beside: str, marks: Any) -> None:
    held = Held(marks, ValueError("no good"))
    try:
        waiting = second(marks).submit()
        until(lambda: bool(looks(marks)), "AwaitingCache")
    finally:
        held.let_go()
    ended = waiting.wait(timeout=SOON)
    assert (ended.name, ended.result()) == ("Completed", "the second one's")
    assert held.state.is_failed()
    assert marks.read().count("ran") == 1


def test_waiting_for_the_cache_spends_no_retry(beside: str, marks: Any) -> None:
    held = Held(marks)
    try:
        waiting = second(marks).with_options(retries=1).submit()
        until(lambda: len(looks(marks)) >= 3, "the third look")
    finally:
        held.let_go()
    assert waiting.wait(timeout=SOON).attempt == 1
    assert not any(mark.startswith("Retrying") for mark in marks.read())


def test_of_many_runs_of_one_key_one_runs(runner: str, marks: Any) -> None:
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
