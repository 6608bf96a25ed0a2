"""A server of frames without a socket: requests go to an `Ingest`, and are lost on their way as a test says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.errors import UnreachableError
from anabranch.records.http import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.records.ingest import Ingest

AWAY, LOST, TWICE, FINE = "away", "its answer is lost", "it comes twice", "fine"


class Line:
    """Stands for an `HttpServer`.

    Attributes:
        fates: of the next requests, in order; those behind them are fine.
        away: whether no request arrives, whatever its fate.
        bodies: of all requests that arrived.
    """

    def __init__(self, ingest: Ingest, name: str = "http://server.test") -> None:
        self.name = name
        self.ingest = ingest
        self.fates: list[str] = []
        self.away = False
        self.bodies: list[bytes] = []

    def ask(
        self, method: str, path: str, body: bytes = b"", *, kind: str = "", timeout: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        fate = self.fates.pop(0) if self.fates else FINE
        if self.away or fate == AWAY:
            raise UnreachableError(f"the server at {self.name} cannot be reached: a test says so")
        assert (method, path) == ("POST", "/ingest")
        assert headers is not None
        for _ in range(1 + (fate == TWICE)):
            self.bodies.append(body)
            status, said = self.ingest.answer(body, float(headers["Anabranch-Sent"]))
        if fate == LOST:
            raise UnreachableError("the answer was lost")
        return Answer(status, said, {"content-type": "application/msgpack"})

    def disconnect(self) -> None: ...
