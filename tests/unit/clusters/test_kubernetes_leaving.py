"""How a worker of a cluster of pods goes: with an API that fails, without room for its values, with a new item."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.clusters.kubernetes import leaving
from anabranch.clusters.kubernetes.door import GONE, MOVED, STAYS, Door
from anabranch.clusters.kubernetes.leaving import Leaving
from anabranch.clusters.kubernetes.scaling import Group, Seat
from anabranch.clusters.wants import Wants
from anabranch.core.errors import KubernetesError

Answer = tuple[str, bool, bool] | OSError
EMPTY: Answer = (MOVED, False, False)
BUSY: Answer = (MOVED, True, True)


class Place:
    """A scheduler, an API and an operator that makes nothing; `broken` are errors that the next writes end with."""

    def __init__(self, *answers: Answer, fixed: bool = False) -> None:
        self.group = Group(Wants(1, 2 if fixed else 0, 2, 60.0), 2)
        self.group.leaving = {"w2"}
        self.answers = list(answers)
        self.there = ["w1", "w2"]
        self.replicas = 2
        self.broken: dict[str, list[Exception]] = {"delete": [], "lost": [], "scale": []}
        self.said: list[str] = []

    def go(self) -> None:
        async def gone() -> None:
            await asyncio.wait_for(Leaving(self, self, self.group, asyncio.Lock()).leave("w2"), 20.0)  # type: ignore[arg-type]

        asyncio.run(gone())

    # -- the doors

    async def retire(self, name: str) -> tuple[str, bool, bool]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def stay(self, name: str) -> None:
        self.said.append(f"stay {name}")

    async def leave(self, names: list[str]) -> None:
        self.said.append(f"leave {names}")

    # -- the API

    def workers(self) -> list[dict[str, Any]]:
        return [{"metadata": {"name": name}} for name in self.there]

    def delete_worker(self, name: str) -> None:
        assert self.said, "told first: what waits on a worker whose pod dies before that counts as crashed"
        self._fail("delete")
        if name in self.there:
            self.there.remove(name)
        self._fail("lost")

    def scale(self, replicas: int) -> None:
        self._fail("scale")
        self.replicas = replicas

    def _fail(self, where: str) -> None:
        if self.broken[where]:
            raise self.broken[where].pop()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(leaving, "LOOK_SECONDS", 0.0)


@pytest.mark.parametrize("where", ["delete", "lost", "scale"])
def test_what_has_been_retired_goes_though_the_api_fails_for_a_while(where: str) -> None:
    here = Place(EMPTY)
    here.broken[where] = [KubernetesError("no answer"), KubernetesError("no answer")]
    here.go()
    assert (here.there, here.replicas, here.group.asked) == (["w1"], 1, 1)
    assert set(here.said) == {"leave ['w2']"}
    assert here.group.step(0.0, [Seat("w1", True)], []) == (0, ())


def test_values_that_take_long_to_move_are_waited_for() -> None:
    here = Place(TimeoutError(), TimeoutError(), (MOVED, True, False), EMPTY)
    here.go()
    assert (here.there, here.replicas) == (["w1"], 1)


def test_values_that_only_another_leaving_worker_has_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = ("moving", False, False)
    here = Place(moving, moving, EMPTY)
    here.go()
    assert here.there == ["w1"]
    monkeypatch.setattr(leaving, "DRAIN_SECONDS", 0.0)
    here = Place(moving)
    here.go()
    assert (here.there, here.said) == (["w1", "w2"], ["stay w2"])


def test_a_worker_whose_values_find_no_room_stays() -> None:
    here = Place((STAYS, False, False))
    here.go()
    assert (here.there, here.group.leaving) == (["w1", "w2"], set())


def test_an_idle_worker_that_has_just_got_an_item_stays_and_gets_work_again() -> None:
    here = Place(BUSY)
    here.go()
    assert (here.there, here.replicas, here.group.leaving) == (["w1", "w2"], 2, set())
    assert here.said == ["stay w2"]


def test_a_busy_worker_goes_after_its_item_where_the_user_has_said_how_many() -> None:
    here = Place(BUSY, BUSY, (MOVED, False, False), fixed=True)
    here.go()
    assert (here.there, here.said) == (["w1"], ["leave ['w2']"])


def test_a_worker_without_a_scheduler_goes() -> None:
    here = Place((GONE, False, False))
    here.go()
    assert here.there == ["w1"]


class Scheduler:
    """Has one worker, and no other that has room; gives it back the status that it had, as Dask's does."""

    def __init__(self, status: str) -> None:
        self.worker = SimpleNamespace(
            name="w1", address="tcp://a:1", status=SimpleNamespace(name=status), processing={}, executing={},
            last_seen=0.0,
        )  # fmt: skip
        self.workers = {"tcp://a:1": self.worker}
        self.handlers: dict[str, Any] = {}
        self.stream_comms = {"tcp://a:1": self}
        self.sent: list[dict[str, str]] = []

    def add_plugin(self, plugin: Door, name: str) -> None:
        """Nothing comes back here."""

    async def retire_workers(self, **_: Any) -> dict[str, Any]:
        return {}

    def send(self, message: dict[str, str]) -> None:
        self.sent.append(message)


def test_the_holder_hears_which_workers_get_no_work() -> None:
    assert asyncio.run(Door(Scheduler("closing_gracefully")).on_holder({}))["closing"] == ["w1"]
    assert asyncio.run(Door(Scheduler("running")).on_holder({}))["closing"] == []


def test_a_worker_that_stays_gets_work_again() -> None:
    """Asked a second time Dask gives it back the status of one that goes."""
    for order in ({}, {"stay": True}):
        scheduler = Scheduler("closing_gracefully")
        asyncio.run(Door(scheduler).on_retire(["w1"], **order))
        assert [(one["op"], one["status"]) for one in scheduler.sent] == [("worker-status-change", "running")]
    scheduler = Scheduler("running")
    assert asyncio.run(Door(scheduler).on_retire(["w1"])) == {"w1": [STAYS, True, False]}
    assert scheduler.sent == []
