"""Following a log: what is refused is told, and other trouble is waited out with growing pauses."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import KubernetesError
from anabranch.launch import kubernetes_logs
from anabranch.launch.kubernetes_logs import Following, pause_after
from tests.unit.launch.pods import ended, pod

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

LIMIT = 30.0  # seconds


class Server:
    """Answers each question for a log by the next of its answers, the last one again and again.

    Attributes:
        transport: what spawns on a loop; here this object itself.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *answers: int | list[str]) -> None:
        self._loop = loop
        self._answers = list(answers)
        self.asked = 0
        self.transport = self

    def spawn(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def stream(
        self, asked: Any, params: Any, silence: float, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[str, None]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, int):
            raise KubernetesError(f"HTTP {answer}", code=answer)
        if opened is not None:
            opened()
        for line in answer:
            yield line


@contextmanager
def looping() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def followed(loop: asyncio.AbstractEventLoop, *answers: int | list[str], phase: str = "Failed") -> tuple[Server, Any]:
    """Follow until the end; returns the server and the following."""
    state = ended(3) if phase == "Failed" else {"running": {}}
    server: Any = Server(loop, *answers)
    following = Following(server, "default", lambda: [pod(phase, state)])
    try:
        following._work.exception(LIMIT)
    finally:
        following.close()
    return server, following


@pytest.mark.parametrize(("answers", "asked"), [((403,), 1), ((401, 401), 2)])
def test_a_refusal_is_raised(monkeypatch: pytest.MonkeyPatch, answers: tuple[int, ...], asked: int) -> None:
    monkeypatch.setattr(kubernetes_logs, "_PAUSE", 0.001)
    with looping() as loop:
        server, following = followed(loop, *answers, phase="Running")
        assert server.asked == asked
        assert following.done
        with pytest.raises(KubernetesError, match=f"HTTP {answers[0]}"):
            following.lines()


def test_other_trouble_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_logs, "_PAUSE", 0.001)
    with looping() as loop:
        server, following = followed(loop, 500, 401, 0, 502, 401, ["one", "two"])
        assert server.asked == 6
        assert following.lines() == ["one", "two"]
        assert following.lines() == []


def test_pauses_grow_to_a_bound() -> None:
    pauses = [pause_after(troubles) for troubles in range(100)]
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 8.0
