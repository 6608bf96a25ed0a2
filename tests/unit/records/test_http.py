"""Requests to a server, against one of sockets that says what it is told to."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import ConfigurationError, UnreachableError
from anabranch.records.http import HttpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted:
    """A server whose connections answer as often as each was told to, and then close."""

    def __init__(self, *answers: int) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.heads: list[str] = []
        self._thread = threading.Thread(target=self._serve, args=(answers,), daemon=True)
        self._thread.start()

    def _serve(self, answers: tuple[int, ...]) -> None:
        for times in answers:
            taken, _ = self.listening.accept()
            with taken, taken.makefile("rb") as lines:
                for _ in range(times):
                    head = []
                    while (line := lines.readline()) not in (b"\r\n", b""):
                        head.append(line.decode())
                    self.heads.append("".join(head))
                    taken.sendall(OK)

    def close(self) -> None:
        self.listening.close()


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    found = Scripted(*request.param)
    yield found
    found.close()


@pytest.mark.parametrize("served", [(2, 1)], indirect=True)
def test_a_connection_is_kept_and_a_closed_one_is_replaced(served: Scripted) -> None:
    server = HttpServer(served.address, "ab_12345678_secret")
    for path in ("/a", "/b", "/c"):
        assert server.ask("GET", path).body == b"ok"
    assert [head.split()[1] for head in served.heads] == ["/api/v1/a", "/api/v1/b", "/api/v1/c"]
    assert all("Authorization: Bearer ab_12345678_secret" in head for head in served.heads)
    server.close()


@pytest.mark.parametrize("served", [(0,)], indirect=True)
def test_a_new_connection_without_an_answer_is_an_error_that_names_the_server_and_not_the_key(served: Scripted) -> None:
    server = HttpServer(served.address, "ab_12345678_secret")
    with pytest.raises(UnreachableError) as caught:
        server.ask("GET", "/a")
    assert served.address in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["ftp://host", "http://", "http://host:port", "http://me:open-sesame@host", "http://host?key=1"]
)
def test_other_addresses_are_refused_without_their_login(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HttpServer(address)
    assert "open-sesame" not in str(caught.value)
