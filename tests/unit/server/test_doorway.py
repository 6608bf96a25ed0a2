"""The doorway's places: those that wait, those that ask, and the look whether the server lives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from anabranch.server import doorway
from anabranch.server.doorway import Doorway

PLACE = "/x/api/v1"


class Held:
    """An application that holds the requests of some paths until a test opens the gate."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths
        self.inside = asyncio.Semaphore(0)
        self.gate = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in self.paths:
            self.inside.release()
            await self.gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def status(door: Doorway, path: str) -> int:
    heard: list[Any] = []

    async def send(message: Any) -> None:
        heard.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    await door({"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"x")]}, receive, send)
    found: int = heard[0]["status"]
    return found


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "AT_ONCE", 2)
    monkeypatch.setattr(doorway, "WAITING", 4)


@pytest.mark.parametrize(
    ("held", "places", "others"),
    [(f"{PLACE}/claims", 4, f"{PLACE}/pools"), (f"{PLACE}/pools", 2, f"{PLACE}/claims")],
)
def test_agents_that_wait_and_those_that_ask_shut_each_other_out_never(held: str, places: int, others: str) -> None:
    async def play() -> None:
        app = Held(held)
        door = Doorway(app, "0", False, place=PLACE)
        inside = [asyncio.create_task(status(door, held)) for _ in range(places)]
        for _ in range(places):
            await app.inside.acquire()
        assert await status(door, held) == 503
        assert await status(door, others) == 200
        assert await status(door, f"{PLACE}/health") == 200
        app.gate.set()
        assert await asyncio.gather(*inside) == [200] * places
        assert await status(door, held) == 200  # the places are free again

    asyncio.run(play())
