"""Chunks of plain functions, a sink that remembers what became of them, and the threads that ran them."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import Chunk
from anabranch.core.events import ChunkLost
from anabranch.core.reports import Inline, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import WorkerPort
    from anabranch.core.events import Event

WAIT = 10.0


class Log:
    """A sink that remembers, and lets a test wait for what it hopes for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.news = threading.Condition()

    def __call__(self, events: Sequence[Event]) -> None:
        with self.news:
            self.events.extend(events)
            self.news.notify_all()

    def until(self, check: Callable[[Log], Any]) -> None:
        with self.news:
            assert self.news.wait_for(lambda: check(self), WAIT), self.events

    def ends(self, chunk: int | None = None) -> list[Event]:
        found = [e for e in self.events if (isinstance(e, Report) and e.final) or isinstance(e, ChunkLost)]
        return found if chunk is None else [e for e in found if e.chunk == chunk]  # type: ignore[union-attr]

    def of(self, kind: type) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]


def call_args(chunk: Chunk, port: WorkerPort) -> None:
    """A small run_chunk: each argument is a function of (chunk, position)."""
    values = []
    for position, fn in enumerate(chunk.args):
        limit = port.limit(chunk.id)
        if limit is not None and position >= limit:
            break
        if not port.cancelled(chunk.id, position):
            port.item(chunk.id, 0, position, 1, chunk.timeout)
            values.append(fn(chunk.id, position))
        else:
            values.append(None)
    port.item(chunk.id, 0, -1, 0, None)
    port.report(Report(chunk.id, 0, len(values), True, blocks=(Inline(values),)))


def chunk_of(id: int, *functions: Callable[[int, int], Any], **more: Any) -> Chunk:
    return Chunk(id, (0,), tuple(range(len(functions))), functions, **more)


STRANGERS: set[threading.Thread] = set()


def ours() -> list[threading.Thread]:
    """The threads of runners; a session that another test left open has others."""
    found = [t for t in threading.enumerate() if re.fullmatch(r"anabranch-(\d+|watch)", t.name)]
    return [t for t in found if t not in STRANGERS]
