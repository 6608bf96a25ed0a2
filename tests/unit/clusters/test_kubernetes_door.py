"""The doors in the scheduler's pod: what programs and the holder hear there, and when a worker may go."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes.door import GONE, HOLDER_HOLDS, MOVED, MOVING, Door

if TYPE_CHECKING:
    import pytest


class Scheduler:
    """As much of Dask's scheduler as the doors look at; a worker that is retired takes nothing new."""

    def __init__(self, *names: str) -> None:
        self.handlers: dict[str, Any] = {}
        self.idle_since: float | None = 1.0
        found = [Worker(name) for name in names]
        self.workers = {one.address: one for one in found}
        self.running = set(found)
        self.removed: list[str] = []
        self.plugin: Any = None

    def __getitem__(self, name: str) -> Worker:
        return self.workers[f"tcp://{name}"]

    def add_plugin(self, plugin: Any, name: str) -> None:
        self.plugin = plugin

    def handle_worker_status_change(self, status: str, worker: Worker, stimulus: str) -> None:
        worker.status = SimpleNamespace(name=status)
        self.running.discard(worker)

    async def retire_workers(self, workers: list[str], close_workers: bool, remove: bool) -> dict[str, Any]:
        """Content with any second copy, as Dask's is."""
        assert not close_workers
        assert not remove
        for address in workers:
            self.handle_worker_status_change("closing_gracefully", self.workers[address], "")
        return dict.fromkeys(workers)

    async def remove_worker(self, address: str, **options: Any) -> None:
        assert options["expected"]
        self.removed.append(address)


class Worker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.address = f"tcp://{name}"
        self.status = SimpleNamespace(name="running")
        self.processing: dict[str, float] = {}
        self.executing: dict[str, float] = {}
        self.last_seen = float("inf")  # it has told since
        self.has_what: list[Any] = []


def value(*holders: Worker) -> None:
    made = SimpleNamespace(who_has=set(holders))
    for one in holders:
        one.has_what.append(made)


def retire(door: Door, *names: str) -> dict[str, list[Any]]:
    return asyncio.run(door.on_retire(list(names)))


def test_two_that_go_at_once_do_not_leave_their_values_with_each_other() -> None:
    scheduler = Scheduler("a", "b", "c")
    value(scheduler["a"], scheduler["b"])
    door = Door(scheduler)
    assert retire(door, "a")["a"] == [MOVED, False, False]
    assert retire(door, "b")["b"] == [MOVING, False, False]
    assert retire(door, "a")["a"] == [MOVING, False, False], "it is asked again before it goes"
    scheduler["a"].has_what[0].who_has.add(scheduler["c"])
    assert retire(door, "a", "b") == {"a": [MOVED, False, False], "b": [MOVED, False, False]}


def test_a_worker_runs_its_item_or_is_gone() -> None:
    scheduler = Scheduler("a", "b")
    door = Door(scheduler)
    scheduler["b"].executing = {"item": 1.0}
    assert retire(door, "b", "c") == {"b": [MOVED, True, False], "c": [GONE, False, False]}
    scheduler["b"].executing, scheduler["b"].last_seen = {}, 0.0
    assert retire(door, "b") == {"b": [MOVED, True, False]}, "it has told nothing since it was to go"


def test_a_worker_that_left_and_whose_container_begins_anew_gets_nothing() -> None:
    """Its pod is deleted a moment later, with whatever it had."""
    scheduler = Scheduler("a", "b")
    door = Door(scheduler)
    assert asyncio.run(door.on_retire(["a"], leave=True)) == {}
    assert scheduler.removed == ["tcp://a"]
    for address in ("tcp://a", "tcp://b"):
        scheduler.plugin.add_worker(scheduler, address)
    assert scheduler.running == {scheduler["b"]}


def test_wishes_lie_until_the_holder_comes_and_the_cluster_is_not_idle_while_it_does() -> None:
    scheduler = Scheduler("a")
    door = Door(scheduler)
    assert "gone" in asyncio.run(door.on_ask("status"))["error"]
    first = asyncio.run(door.on_holder({"minimum": 0, "maximum": 4, "trouble": "no worker can start"}))
    assert (first["demands"], first["bounds"], first["stop"], first["workers"]) == ([], [], False, {"a": False})
    assert scheduler.idle_since is None
    assert asyncio.run(door.on_demand("p", 3.0, 2.0, 1.0)) == "no worker can start"
    told = asyncio.run(door.on_ask("scale", 2, 5))
    assert (told["minimum"], told["maximum"], told["trouble"], told["workers"]) == (2, 5, "", 1)
    asyncio.run(door.on_ask("stop"))
    second = asyncio.run(door.on_holder({}))
    assert (second["demands"], second["bounds"], second["stop"]) == ([[3.0, 2.0, 1.0]], [2, 5], True)
    assert asyncio.run(door.on_holder({}))["bounds"] == []
    assert "does not know 'dance'" in asyncio.run(door.on_ask("dance"))["error"]


def test_a_holder_that_has_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("anabranch.clusters.kubernetes.door.time.monotonic", lambda: now[0])
    door = Door(Scheduler())
    asyncio.run(door.on_holder({"minimum": 1}))
    assert asyncio.run(door.on_ask("status"))["minimum"] == 1
    now[0] += HOLDER_HOLDS + 1
    assert "ends by itself when it has been idle" in asyncio.run(door.on_ask("scale", 1, 1))["error"]
