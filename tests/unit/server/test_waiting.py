"""Agents that wait: woken by another face of the service, and by the server's end; looks are shared."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from anabranch.core.errors import RecordsError
from anabranch.server import waiting
from anabranch.server.waiting import Waiting
from tests.waiting import until


class Face:
    """A face that a test changes; counts the looks."""

    def __init__(self) -> None:
        self.value: Any = 0
        self.looks = 0
        self.looked = threading.Semaphore(0)
        self.away = False

    def __call__(self) -> Any:
        self.looks += 1
        self.looked.release()
        if self.away:
            raise RecordsError("away")
        return {"p": self.value, "q": 0}


@pytest.fixture(autouse=True)
def for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a wait in these tests is never that time has passed."""
    monkeypatch.setattr(waiting, "LONGEST", 600.0)


async def looked(face: Face, times: int = 1) -> None:
    for _ in range(times):
        assert await asyncio.to_thread(face.looked.acquire, timeout=30)


def test_a_new_face_wakes_all_that_have_not_seen_it() -> None:
    face = Face()
    room = Waiting(face)

    async def play() -> None:
        waiters = [asyncio.create_task(room.for_news("p", {"p": 0}, 600.0)) for _ in range(20)]
        await looked(face, 3)
        assert not any(one.done() for one in waiters)
        face.value = 1
        await asyncio.wait_for(asyncio.gather(*waiters), 30)
        assert face.looks < 20  # one look for all of them
        await asyncio.wait_for(room.for_news("p", {"p": 0}, 600.0), 30)  # its face is older than what was seen last

    asyncio.run(play())


def test_what_changes_in_a_pool_wakes_nobody_who_waits_in_another() -> None:
    face = Face()
    room = Waiting(face)

    async def play() -> None:
        other = asyncio.create_task(room.for_news("q", {"q": 0}, 600.0))
        mine = asyncio.create_task(room.for_news("p", {"p": 0}, 600.0))
        face.value = 1
        await asyncio.wait_for(mine, 30)
        await looked(face, face.looks + 2)
        assert not other.done()
        room.close()
        await asyncio.wait_for(other, 30)

    asyncio.run(play())


def test_the_bell_has_a_look_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK", 600.0)
    face = Face()
    room = Waiting(face)

    async def play() -> None:
        waiter = asyncio.create_task(room.for_news("p", {"p": 0}, 600.0))
        await looked(face)
        face.value = 1
        room.ring()
        await asyncio.wait_for(waiter, 30)

    asyncio.run(play())


def test_the_end_of_the_server_ends_all_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK", 600.0)
    face = Face()
    room = Waiting(face)

    async def play() -> None:
        waiters = [asyncio.create_task(room.for_news("p", {"p": 0}, 600.0)) for _ in range(3)]
        await looked(face)
        await asyncio.to_thread(room.close)
        await asyncio.wait_for(asyncio.gather(*waiters), 30)

    asyncio.run(play())


def test_a_signal_that_comes_in_the_middle_of_a_ring_ends_all_waits() -> None:
    """The handler runs in the thread that rings, whose lock it must not want."""
    room = Waiting(Face())

    async def play() -> None:
        waiter = asyncio.create_task(room.for_news("p", {"p": 0}, 600.0))
        await asyncio.sleep(0)

        def handler() -> None:
            with room._rung._cond:  # type: ignore[attr-defined]  # as `ring` has it
                room.close()

        signalled = threading.Thread(target=handler, daemon=True)
        signalled.start()
        await asyncio.wait_for(waiter, 10)
        await asyncio.to_thread(signalled.join, 10)
        assert not signalled.is_alive()

    asyncio.run(play())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unknown_error_of_a_look_is_not_the_last_look() -> None:
    face, bad = Face(), [True]

    def look() -> Any:
        if bad:
            raise ValueError(bad.pop())
        return face()

    room = Waiting(look)

    async def play() -> None:
        with_it = asyncio.create_task(room.for_news("p", {"p": 0}, 600.0))
        await asyncio.sleep(0)
        thread = room._looking
        assert thread is not None
        await asyncio.to_thread(thread.join, 30)
        face.value = 1
        await asyncio.wait_for(asyncio.gather(with_it, room.for_news("p", {"p": 0}, 600.0)), 30)

    asyncio.run(play())


def test_a_record_that_is_away_ends_no_wait_and_no_looks() -> None:
    face = Face()
    face.away = True
    room = Waiting(face)

    async def play() -> None:
        waiter = asyncio.create_task(room.for_news("p", {"p": 0}, 600.0))
        await looked(face, 2)
        face.value, face.away = 1, False
        await asyncio.wait_for(waiter, 30)

    asyncio.run(play())


def test_nobody_looks_while_nobody_waits() -> None:
    face = Face()
    room = Waiting(face)

    async def play() -> None:
        face.value = 1
        await asyncio.wait_for(room.for_news("p", {"p": 0}, 600.0), 30)
        room.ring()
        until(lambda: room._looking is None)
        looks = face.looks
        room.ring()
        await asyncio.wait_for(room.for_news("p", {"p": 0}, 600.0), 30)  # looks begin again
        assert face.looks > looks

    asyncio.run(play())
