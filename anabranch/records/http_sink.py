"""The sink of a server: batches go out as frames; while the server is away they wait in memory, then on disk.

    batch --cut--> frames --one in flight--> server
                     |  more than 64 MiB wait, or the oldest row for 5 s
                     '--> outbox (records/outbox.py) --> this program later, another one, `anabranch records push`

Frames keep their order: those in the outbox are older than those in memory. A program that is killed while its server
is away loses the rows of its last seconds alone.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from anabranch.core.errors import AnabranchError, UnreachableError
from anabranch.records.cutting import Cutter
from anabranch.records.fencing import Fence
from anabranch.records.outbox import push
from anabranch.records.sending import Course
from anabranch.records.writer import Aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.contracts import Clock
    from anabranch.records.batch import Batch
    from anabranch.records.cutting import Cut
    from anabranch.records.http import HttpServer
    from anabranch.records.outbox import Outbox

logger = logging.getLogger("anabranch.records")

MOST_WAITING = 64 << 20  # bytes of rows in memory
END_SECONDS = 5.0  # that the end of a program waits for its server
MEMORY_SECONDS = 5.0  # that rows wait in memory alone
_LEFT = (
    "The server at %s could not be reached: the last rows of this program wait in %s. The next program with this "
    "server sends them, or `anabranch records push`"
)
_AGAIN = 60.0  # seconds between looks for what other programs left


class HttpSink:
    """A `Sink` at a server.

    Args:
        writer: a name that no other program has.
        version: of this anabranch.
        most: bytes of rows that wait in memory.
        longest: seconds that rows wait in memory.
    """

    def __init__(
        self, server: HttpServer, outbox: Outbox, clock: Clock, writer: str, version: str, most: int = MOST_WAITING,
        longest: float = MEMORY_SECONDS,
    ) -> None:  # fmt: skip
        self.away = False
        self.fence = Fence()
        self._server = server
        self._outbox = outbox
        self._clock = clock
        self._writer = writer
        self._most, self._longest = most, longest
        self._cutter = Cutter(writer, version)
        self._course = Course(server, clock, writer)
        self._frames: deque[Cut] = deque()
        self._on_disk = False  # frames of this writer
        self._full = False  # there is no room for them there
        self._since = 0.0  # when it went away
        self._waits: float | None = None  # since then, the oldest row that is in memory alone
        self._others: Iterator[set[str]] | None = None
        self._look_at: float | None = None  # for what other programs left; None: not before there was contact

    @property
    def name(self) -> str:
        return self._server.name

    @property
    def lost(self) -> set[str]:
        return self.fence.lost

    def take(self, batch: Batch) -> None:
        """Cut a batch into frames."""
        self.fence.note(batch)
        self.fence.strip(batch)
        self._frames += self._cutter.cut(batch, self.fence)
        self.fence.ended(batch)

    def deliver(self) -> None:
        """Send what waits; raises where the server is away, or does not take it."""
        try:
            if self._on_disk:
                for lost in push(self._outbox.path(self._writer), self._server, self._clock, self._course):
                    self.fence.lost |= lost
                self._on_disk = self._outbox.path(self._writer).exists()  # else another program sends it just now
                if self._on_disk:
                    raise AnabranchError("another program sends frames of this one")
            while self._frames:
                self.fence.lost |= self._course.send(*self._frames[0])
                self._frames.popleft()
                self._look_at = time.monotonic() if self._look_at is None else self._look_at
        except Exception:
            if not self.away:
                self.away, self._since = True, time.monotonic()
            raise
        self.away, self._waits = False, None

    def set_aside(self, batch: Batch, closing: float | None) -> Aside:
        """Put what waits into the outbox: much of it, what has waited for long, or all at the end of the program."""
        now = time.monotonic()
        late = closing is not None and max(closing, now - self._since) >= END_SECONDS
        if self._waits is None and (batch or self._frames):
            self._waits = now
        long = self._waits is not None and now - self._waits >= self._longest
        if not (late or long) and sum(len(cut.body) for cut in self._frames) + batch.weight < self._most:
            return Aside.LEFT
        self.take(batch)
        self._waits = None
        if self._frames:
            try:
                self._outbox.add(self._writer, self._server.name, self._frames)
            except OSError as error:
                if not self._full:
                    logger.warning("Rows of the record cannot wait in %s either: %s", self._outbox.folder, error)
                self._full = True
                return Aside.TAKEN
            self._full = False
            self._on_disk = True
            self._frames.clear()
        if late and self._on_disk:
            logger.warning(_LEFT, self._server.name, self._outbox.folder)
        return Aside.SAFE

    def settle(self) -> None:
        """Do nothing: the server seals."""

    def pause(self) -> float | None:
        return None if self._look_at is None else max(0.0, self._look_at - time.monotonic())

    def idle(self) -> None:
        """Send a frame that another program left."""
        try:
            if self._others is None:
                self._others = self._left_by_others()
            if next(self._others, None) is not None:
                return
        except (AnabranchError, OSError) as error:
            logger.info("What other programs left in %s was not sent: %s", self._outbox.folder, error)
        self._others, self._look_at = None, time.monotonic() + _AGAIN

    def _left_by_others(self) -> Iterator[set[str]]:
        for path in self._outbox.waiting(self._server.name):
            if path != self._outbox.path(self._writer):
                try:
                    yield from push(path, self._server, self._clock)
                except UnreachableError:
                    raise
                except (AnabranchError, OSError) as error:  # of this file alone: those behind it may be taken
                    logger.info("What waits in %s was not sent: %s", path, error)
                    yield set()

    def disconnect(self) -> None:
        """Close the connections: after an error they may be of no use any more."""
        self._server.disconnect()
