"""A record as a server serves it: frames of drivers, and calls of programs that read it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.records.calls import METHODS, answered
from anabranch.records.http import own_version
from anabranch.records.ingest import Ingest
from anabranch.records.rights import RunRights

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock
    from anabranch.records.ingest import Answer
    from anabranch.records.recorder import Recorder

READING = 5.0  # seconds of a statement that reads, where the database can end it


class ServedRecord:
    """The record's part of a server; its methods may be called from any thread.

    Args:
        records: in a database; the caller closes them after this.
    """

    def __init__(self, records: Recorder, *, clock: Clock = SYSTEM) -> None:
        self._records = records
        records.tidy()  # the rows of drivers come through `frame`, and never to the thread that deletes
        self._ingest = Ingest(records.database, own_version(), clock)

    def frame(self, body: bytes, sent: float | None, run: str = "", token: int = 0) -> Answer:
        """Answer a request with a frame; see `Ingest.answer`."""
        return self._ingest.answer(body, sent, run, token)

    def call(self, name: str, body: bytes, run: str = "") -> bytes:
        """Answer a call of `calls.METHODS`; raises as `calls.answered`.

        Args:
            run: that the sender's key is of; "": it may ask all.
        """

        method = METHODS.get(name)
        reads = method is not None and not method.writes
        with self._records.database.bounded(READING) if reads else nullcontext():
            return answered(self._records, name, body, RunRights(self._records, run) if run else None)

    def close(self) -> None:
        """Take the frames that wait."""
        self._ingest.close()
