"""One writer's frames on their way to a server, one at a time, and again until they are answered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgpack

from anabranch.core.errors import RecordsError
from anabranch.records.frames import refilled
from anabranch.records.http import MSGPACK

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock
    from anabranch.records.http import Answer, HttpServer

logger = logging.getLogger("anabranch.records")

PATH = "/ingest"
SENT = "Anabranch-Sent"  # the header with the sender's clock: the server compares signs of life with it
_TIMEOUT = 30.0  # seconds without an answer: the frame may be in the record or not, and is sent again
_OLDER = (
    "The record at %s is older than what it had confirmed, perhaps from a backup: frames %s to %s of this program are "
    "not in it. What comes after them is recorded."
)


class Course:
    """The way of one writer's frames.

    A server with a record from a backup wants frames that nobody has any more. The later ones then go on
    under another name, from number 1. That name follows from the first of them, so that two programs which send the
    same frames choose the same.

    Args:
        writer: its name.
    """

    def __init__(self, server: HttpServer, clock: Clock, writer: str) -> None:
        self._server = server
        self._clock = clock
        self._writer = writer
        self._name = writer
        self._before = 0  # frames that were numbered under another name

    def send(self, seq: int, body: bytes) -> set[str]:
        """Send a frame; once it returns the frame is in the record. Returns the runs that another driver has.

        Raises:
            UnreachableError: the server does not answer.
            RecordsError: the server cannot take it now, or not from this program; says why.
        """
        answer = self._post(seq, body)
        if answer.status == 409:
            wanted = int(_read(answer)["wanted"])
            logger.warning(_OLDER, self._server.name, wanted + self._before, seq - 1)
            self._name, self._before = f"{self._writer}~{seq}", seq - 1
            answer = self._post(seq, body)
        if answer.status in (413, 422):
            logger.warning("The server at %s refuses a frame of rows: %s", self._server.name, why(answer))
            answer = self._post(seq, refilled(body, rows=[], blocks=[]))
        if not answer.good:
            raise RecordsError(f"the server at {self._server.name} does not take rows: {why(answer)}")
        return set(_read(answer)["lost"])

    def _post(self, seq: int, body: bytes) -> Answer:
        if self._before:
            body = refilled(body, writer=self._name, seq=seq - self._before)
        sent = {SENT: repr(self._clock.time())}
        return self._server.ask("POST", PATH, body, kind=MSGPACK, timeout=_TIMEOUT, headers=sent)


def why(answer: Answer) -> str:
    """Return the sentence of an answer that refuses."""
    if answer.headers.get("content-type", "").startswith(MSGPACK):
        return str(_read(answer).get("detail", answer.status))
    return f"{answer.status} {answer.why}".strip()


def _read(answer: Answer) -> dict[str, Any]:
    try:
        found = msgpack.unpackb(answer.body)
    except (ValueError, msgpack.UnpackException):
        found = None
    if not isinstance(found, dict):
        raise RecordsError(f"the answer is not of an anabranch server: {answer.body[:100]!r}")
    return found
