"""The holder's loop around a queue: how often it asks, and what it does with the answers."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from anabranch.clusters.holder import Holder
from anabranch.clusters.job_spec import JobSpec
from anabranch.clusters.scaling import Crew, Seen
from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Queue:
    """A queue in which jobs wait; what is asked of it is kept."""

    look_seconds = 30.0

    def __init__(self) -> None:
        self.looks: list[list[str]] = []
        self.cancelled: list[str] = []
        self.numbers = iter(range(1, 1000))
        self.answer: dict[str, Seen] | None = {}

    def render(self, name: str, addresses: Sequence[str]) -> str:
        return ""

    def log(self, name: str, id: str) -> str:
        return f"/nowhere/{id}.log"

    async def submit(self, name: str, addresses: Sequence[str]) -> str:
        return str(next(self.numbers))

    async def look(self, ids: Sequence[str]) -> Mapping[str, Seen]:
        self.looks.append(list(ids))
        if self.answer is None:
            raise LaunchError("squeue did not answer within 60 s")
        return {id: Seen("queued", "other jobs come first") for id in ids} | self.answer

    async def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids


class Held:
    """A holder in virtual time, without a scheduler."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, minimum: int) -> None:
        self.now = 0.0
        self.queue = Queue()
        self.crews: dict[str, Crew] = {}
        options = {
            "kind": "local", "name": "c", "home": str(folder), "folder": str(folder / "c"), "secure": False,
            "spec": asdict(JobSpec("c", 1, 2**30, 1, 3600.0)), "bounds": [minimum, minimum], "patience": None,
            "idle": 60.0,
        }  # fmt: skip
        self.holder = Holder(options, clock=lambda: self.now)
        self.holder.queue = self.queue
        monkeypatch.setattr(self.holder, "crews", lambda: self.crews)

    async def run(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.holder.turn()
            await self.holder.settled()
            self.now += 1.0


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(tmp_path, monkeypatch, 5)


def test_the_queue_is_asked_for_all_jobs_at_once_at_most_twice_a_minute(held: Held) -> None:
    asyncio.run(held.run(600))
    assert len(held.queue.looks) <= 20
    assert max(len(ids) for ids in held.queue.looks) == 5
    assert "other jobs come first" in held.holder.status()["why"]


def test_the_queue_is_not_asked_while_all_jobs_work(held: Held) -> None:
    asyncio.run(held.run(20))
    held.crews = {name: Crew(1, True) for name in held.holder.fleet.jobs}
    asyncio.run(held.run(40))
    before = len(held.queue.looks)
    asyncio.run(held.run(600))
    assert len(held.queue.looks) == before


def test_a_question_that_fails_is_no_answer(held: Held) -> None:
    """For five minutes the queue says nothing: no job is given up, none is asked for."""
    asyncio.run(held.run(20))
    held.queue.answer = None
    asyncio.run(held.run(300))
    assert len(held.queue.looks) <= 12
    assert len(held.holder.fleet.jobs) == held.holder.fleet.submitted_count == 5
    assert held.queue.cancelled == []


def test_jobs_that_the_queue_has_forgotten_are_replaced(held: Held) -> None:
    """The record of an ended job is purged within seconds at some sites."""
    asyncio.run(held.run(20))
    held.queue.answer = {"1": Seen("ended", "node fail (NodeDown)")}
    asyncio.run(held.run(60))
    assert held.holder.fleet.submitted_count == 6
    assert "node fail" in held.holder.fleet.last_end
