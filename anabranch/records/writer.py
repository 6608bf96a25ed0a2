"""The one writer: a thread that takes rows from a queue and has them committed together.

    append --> inbox --> the thread's batch --> sink: a database (records/sql_sink.py), a server (records/http_sink.py)

Appending costs a `deque.extend`. The first row after a commit wakes the thread, which then waits `commit_interval` for
more. While the sink is locked, full or out of reach, rows wait in memory (blocks of one map merged, at 2 to 9 bytes an
item) and the thread tries again for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from anabranch.core import forks
from anabranch.core.errors import RecordsError
from anabranch.core.runs import StoredRow
from anabranch.records.batch import Batch, Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.core.runs import Row
    from anabranch.records.database import Connection, Database

logger = logging.getLogger("anabranch.records")

_PAUSES = (0.01, 0.25)  # seconds between tries, doubling from the first to the second
_MANY = 1000  # items; so many are committed at once, because a crash would run them again
_COMPLAIN = 5.0  # seconds of trying before a warning
_WAITS = "Cannot write to the record at %s. Rows are kept in memory until it works; tasks continue. (%s)"


class Tidying(Protocol):
    """The contract of the work that the writer's thread does while there is nothing to write."""

    def pause(self) -> float:
        """Return the seconds until the next step."""
        ...

    def step(self, database: Database, connected: Callable[[], Connection]) -> None:
        """Do a little work, if it is time. After an error of the database nothing has changed."""
        ...


class Aside(Enum):
    """What became of a batch that cannot be committed now."""

    LEFT = "the sink has nothing of it"
    TAKEN = "the sink has it, in memory"
    SAFE = "it, and all that the sink had, outlasts this process"


class Sink(Protocol):
    """Where the writer's rows go. Its methods are called by the writer's thread alone.

    Attributes:
        name: in messages, without a login.
        away: whether it was out of reach at the last try, so that nobody is to wait for it.
        lost: the runs of this process that another driver has now.
    """

    @property
    def name(self) -> str: ...

    @property
    def away(self) -> bool: ...

    @property
    def lost(self) -> set[str]: ...

    def take(self, batch: Batch) -> None:
        """Take the rows of a batch; after an exception none of them is taken."""
        ...

    def deliver(self) -> None:
        """Have committed what was taken; after an exception it is called again, until it returns."""
        ...

    def set_aside(self, batch: Batch, closing: float | None) -> Aside:
        """Keep what waits where it outlasts this process, if it is time to.

        Args:
            closing: seconds since the process wants to end; None: it goes on.
        """
        ...

    def settle(self) -> None:
        """Do what can wait until rows are committed. It never raises."""
        ...

    def pause(self) -> float | None:
        """Return the seconds until `idle` is to be called; None: it need not be."""
        ...

    def idle(self) -> None:
        """Do what can wait until there are no rows. It never raises."""
        ...

    def disconnect(self) -> None: ...


class Writer:
    """Writes rows to a sink, from a daemon thread that starts with the first row; between them it tidies up."""

    def __init__(self, sink: Sink, commit_interval: float = 0.05) -> None:
        self.sink = sink
        self.interval = commit_interval
        self.seconds = 0.0  # CPU time of the thread
        self._inbox: deque[Row | Mark] = deque()
        self._due = False  # the thread is awake and will read the inbox once more
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.Lock()  # for starting and closing only
        self._closing: float | None = None  # since then
        self._thread: threading.Thread | None = None
        self._copied = forks.mark()
        self._batch = Batch()
        self._taken: list[Mark] = []  # of rows that the sink has taken and not delivered

    # -- any thread ------------------------------------------------------------------------------

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows, which must not change any more. Raises RecordsError in a forked child and after `close`."""
        if self._closing is not None or self._copied:
            self._refuse()
        rows = tuple(rows)
        self._inbox.extend(rows)
        for row in rows:
            if type(row) is StoredRow and len(row.items) >= _MANY:
                self._hurry.set()
        if not self._due:
            self._rouse()

    def flush(self, timeout: float | None = None, *, patient: bool = False) -> bool:
        """Wait until all rows appended before are committed; False after `timeout`.

        A sink that is out of reach is waited for by a `patient` call alone.
        """
        if self._copied:
            self._refuse()
        with self._lock:
            if self._thread is None or self._closing is not None:
                return not self._inbox and not self._batch
            if self.sink.away and not patient:
                return False
            mark = Mark(patient=patient)
            self._inbox.append(mark)
            self._hurry.set()
            self._due = True
            self._wake.set()
        return mark.wait(timeout) and not mark.given_up

    def close(self, timeout: float | None = None) -> None:
        """Commit the appended rows and end the thread; after `timeout` leave it to try on alone.

        In a forked child it does nothing: the thread and the rows are the parent's.
        """
        if self._copied:
            return
        with self._lock:
            self._closing = time.monotonic() if self._closing is None else self._closing
            thread = self._thread
            self._hurry.set()
            self._wake.set()
        if thread is not None:
            thread.join(timeout)

    def _refuse(self) -> None:
        if self._copied:
            raise RecordsError("the records belong to the process that opened them: open them again after a fork")
        raise RecordsError(f"the records in {self.sink.name} are closed")

    def _rouse(self) -> None:
        with self._lock:
            self._due = True
            if self._thread is None and self._closing is None:
                self._thread = threading.Thread(target=self._run, name="anabranch-records", daemon=True)
                self._thread.start()
            self._wake.set()

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            if not self._wake.wait(self.sink.pause()):
                self.sink.idle()
                continue
            self._wake.clear()
            self._hurry.wait(self.interval)
            self._hurry.clear()
            # `append` reads `_due` after it has added rows, so rows that it does not announce are found below.
            self._due = False
            if self._commit_on():
                self.sink.settle()
            self.seconds = time.thread_time()
            if self._closing is not None and not self._inbox:
                break
            if self._closing is not None:
                self._wake.set()
                self._hurry.set()
            elif (pause := self.sink.pause()) is not None and pause <= 0:
                self.sink.idle()
        self.sink.disconnect()
        self.seconds = time.thread_time()

    def _commit_on(self) -> bool:
        """Commit the waiting rows, trying as often as needed; returns whether there were any."""
        pause, began, complained = _PAUSES[0], time.monotonic(), False
        while True:
            self._drain()
            try:
                done = self._commit()
            except Exception as error:  # any exception: a thread that ended would lose rows
                self.sink.disconnect()
                if self._set_aside():
                    return False
                if not complained and time.monotonic() - began > _COMPLAIN:
                    complained = True
                    logger.warning(_WAITS, self.sink.name, error)
                time.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])
                continue
            if complained:
                logger.warning("The record at %s can be written again: no row was lost.", self.sink.name)
            return done

    def _commit(self) -> bool:
        self.sink.deliver()
        self._tell_taken()
        batch = self._batch
        wrote = bool(batch)
        if wrote:
            self.sink.take(batch)
        self._batch = Batch()
        self._taken += batch.marks
        if wrote:
            self.sink.deliver()
        self._tell_taken()
        return wrote

    def _tell_taken(self) -> None:
        for mark in self._taken:
            mark.set()
        self._taken.clear()

    def _set_aside(self) -> bool:
        """Let the sink keep what waits elsewhere; returns whether that is all that can be done before the end."""
        closing = None if self._closing is None else time.monotonic() - self._closing
        done = self.sink.set_aside(self._batch, closing)
        if done is not Aside.LEFT:
            self._taken += self._batch.marks
            self._batch = Batch()
        if self.sink.away:
            for mark in [*self._taken, *self._batch.marks]:
                mark.give_up()
        return done is Aside.SAFE and closing is not None

    def _drain(self) -> None:
        inbox, batch = self._inbox, self._batch
        for _ in range(len(inbox)):
            row = inbox.popleft()
            try:
                batch.take(row)
            except Exception as error:
                logger.warning("A row of the records was left out: %s: %s: %.200r", type(error).__name__, error, row)
