"""Which runners a program has at work, and when each is closed."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from anabranch.core.errors import ConfigurationError, RunnerError
from anabranch.core.own_runners import OwnRunner
from anabranch.driver.runner_pool import RunnerPool


class Fake(OwnRunner):
    def __init__(self) -> None:
        self.closed = False

    def start(self, sink: Any) -> None: ...

    def submit(self, chunks: Any) -> None:
        if self.closed:
            raise RunnerError("closed")

    def close(self, *, cancel: bool = False, timeout: float | None = None) -> None:
        self.closed = True


class Lanes:
    def __init__(self) -> None:
        self.runners: list[Any] = []
        self.closed: list[tuple[int, bool]] = []

    def add_runner(self, runner: Any) -> int:
        self.runners.append(runner)
        return len(self.runners) - 1

    def drop_runner(self, lane: int, *, cancel: bool = False, timeout: float | None = None) -> None:
        self.runners[lane].close()
        self.closed.append((lane, cancel))

    def flush(self) -> None: ...


@pytest.fixture
def lanes() -> Lanes:
    return Lanes()


@pytest.fixture
def runners(lanes: Lanes) -> RunnerPool:
    dropped: list[int] = []
    return RunnerPool(lanes, lambda name: Fake(), dropped.append)


def test_name_class_and_object_are_each_one_runner(runners: RunnerPool, lanes: Lanes) -> None:
    mine = Fake()
    for wanted in ("name", Fake, mine):
        assert runners.use(wanted) is runners.use(wanted)
    assert len(lanes.runners) == 3


def test_a_users_runner_closes_when_nobody_can_reach_it(runners: RunnerPool, lanes: Lanes) -> None:
    mine = Fake()
    runners.leave(runners.use(mine))
    runners.close_idle(0.0)
    assert lanes.closed == []
    del mine
    gc.collect()
    runners.close_idle(1000.0)
    assert lanes.closed == [(0, True)]
    assert runners.known == {}


def test_not_while_it_is_used(runners: RunnerPool, lanes: Lanes) -> None:
    used = runners.use(Fake())
    gc.collect()
    runners.close_idle(1000.0)
    assert lanes.closed == []
    runners.leave(used)
    runners.close_idle(1000.0)
    assert lanes.closed == [(0, True)]


def test_those_before_close_as_another_one_starts(runners: RunnerPool, lanes: Lanes) -> None:
    for _ in range(5):
        runners.leave(runners.use(Fake()))
        gc.collect()
    assert [lane for lane, _ in lanes.closed] == [0, 1, 2, 3]


def test_an_object_at_the_place_of_one_that_has_gone_is_another_runner(
    runners: RunnerPool, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Fake(), Fake()
    used = runners.use(first)
    runners.known[id(second)] = runners.known.pop(id(first))
    del first
    gc.collect()
    assert runners.use(second).lane == 1
    assert lanes.closed == []
    runners.leave(used)
    runners.use("name")
    assert lanes.closed == [(0, True)]


def test_shared_ones_stay_warm_until_they_idle(runners: RunnerPool, lanes: Lanes) -> None:
    for wanted in ("name", Fake):
        runners.leave(runners.use(wanted))
    runners.close_idle(1000.0)
    assert lanes.closed == []
    runners.close_idle(-1.0)
    assert lanes.closed == [(0, False), (1, False)]


def test_one_that_its_user_closed_is_forgotten(runners: RunnerPool, lanes: Lanes) -> None:
    mine = Fake()
    runners.leave(runners.use(mine))
    mine.close()
    runners.close_idle(1000.0)
    assert runners.known == {}


@pytest.mark.parametrize("wanted", [5, object(), object])
def test_what_is_no_runner_is_refused(runners: RunnerPool, wanted: Any) -> None:
    with pytest.raises(ConfigurationError, match="runner must be thread, process"):
        runners.use(wanted)
