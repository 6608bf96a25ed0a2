"""What a worker on Ray has to tell, fetched by its driver batch by batch; a batch brings one block of values at most.

    say(message, blocks) --> entries --batch(heard)--> (messages, block): return values of the driver's call
                                ^                          |
                                +--- not heard, or refused +   (kept until the next call confirms it)

A block that a call returns is the driver's own: it outlives the actor that made it, and goes with its node.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RunnerError
from anabranch.runners.transport.packing import refuse

if TYPE_CHECKING:
    from anabranch.core.reports import Report
    from anabranch.runners.ray.blocks import StoredBlock

LISTEN_SECONDS = 10.0  # a call that found nothing to tell comes back
WAITING_BYTES = 16 << 20  # of blocks that nobody fetched yet; a report waits for room

Message = tuple[Any, ...]
Blocks = list[tuple[int, "StoredBlock"]]  # with their stages


class Outbox:
    """Any thread of the worker says something; one call of the driver's at a time fetches it."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self._entries: deque[tuple[Message, Blocks]] = deque()
        self._bytes = 0
        self._number = 0  # of the last batch
        self._batch: list[Message] = []
        self._brought: tuple[Report, int, StoredBlock] | None = None  # with the last batch: of which report and stage

    def say(self, message: Message) -> None:
        with self.news:
            self._entries.append((message, []))
            self.news.notify_all()

    def report(self, report: Report, blocks: Blocks) -> None:
        """Tell it once its blocks have been fetched; waits while too much of others has not been."""
        size = sum(block.nbytes for _, block in blocks)
        with self.news:
            self.news.wait_for(lambda: not size or self._bytes + size <= WAITING_BYTES or not self._bytes)
            self._bytes += size
            self._entries.append((("report", report), blocks))
            self.news.notify_all()

    def batch(self, heard: int, refused: str | None) -> tuple[bytes, StoredBlock | None]:
        """The next messages, pickled with their number, and a block; the last ones again where they were not heard.

        Args:
            heard: the number of the last batch that arrived.
            refused: why the block of the last batch could not be stored.
        """
        with self.news:
            again = heard != self._number
            if again and refused is None:
                return self._wrapped()
            if self._brought is not None:
                report, stage, block = self._brought
                self._bytes -= block.nbytes
                self._brought = None
                if again:
                    error = RunnerError(f"no room for its result in Ray's object store: {refused}")
                    empty = refuse(report, stage, error)
                    report.blocks = tuple(empty if n == stage else block for n, block in enumerate(report.blocks))
            if again:
                self._entries.extendleft((message, []) for message in reversed(self._batch))
            self.news.notify_all()
            self.news.wait_for(lambda: self._entries, LISTEN_SECONDS)
            self._number += 1
            self._batch = self._take()
            return self._wrapped()

    def _take(self) -> list[Message]:
        """Messages up to the second block; those of one report come one by one, and the report with the last."""
        found: list[Message] = []
        while self._entries:
            message, blocks = self._entries[0]
            if blocks:
                if self._brought is not None:
                    break
                stage, block = blocks.pop(0)
                self._brought = message[1], stage, block
                if blocks:
                    break
            found.append(self._entries.popleft()[0])
        return found

    def _wrapped(self) -> tuple[bytes, StoredBlock | None]:
        block = self._brought[2] if self._brought is not None else None
        return pickle.dumps((self._number, self._batch, block is not None), 5), block
