"""A way to a server that at times swallows all: connections are taken and kept, and nothing comes back.

It may also swallow the answers alone. While the server is dead, it closes each connection at once.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes bytes between its own port and a server's.

    Attributes:
        port: where it listens.
        swallowed: bytes that went nowhere.
        asked: the first lines of requests that went nowhere, such as "POST /claims HTTP/1.1".
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.swallowed = 0
        self.asked: list[str] = []
        self._swallows = threading.Event()
        self._loses_answers = threading.Event()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on pass nothing on, and close no connection."""
        self._swallows.set()

    def lose_answers(self) -> None:
        """From now on pass on what is asked, and no answer."""
        self._loses_answers.set()

    def pass_on(self) -> None:
        """Pass on what comes by new connections; what went by those of before stays silent for ever."""
        self._swallows.clear()
        self._loses_answers.clear()

    def close(self) -> None:
        self._listening.close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            self._open.add(here)
            carry = self._keep if self._swallows.is_set() else self._connect
            threading.Thread(target=carry, args=(here,), daemon=True).start()

    def _keep(self, here: socket.socket) -> None:
        """Take what comes by a connection and never answer, also when others are answered again."""
        with suppress(OSError):
            while found := here.recv(65_536):
                self._lose(found)

    def _lose(self, found: bytes) -> None:
        self.swallowed += len(found)
        line = found.partition(b"\r\n")[0]
        if line.endswith(b" HTTP/1.1") and not line.startswith(b"HTTP"):
            self.asked.append(line.decode())

    def _connect(self, here: socket.socket) -> None:
        """Carry what goes by a connection until it has ended; one that has lost any stays open."""
        try:
            there = socket.create_connection(("127.0.0.1", self._server))
        except OSError:
            self._end(here)
            return
        self._open.add(there)
        lost = threading.Event()
        back = threading.Thread(target=self._carry, args=(there, here, lost, self._loses_answers), daemon=True)
        back.start()
        self._carry(here, there, lost, threading.Event())
        back.join()
        if not lost.is_set():
            self._end(here, there)

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            self._open.discard(one)
            one.close()

    def _carry(
        self, source: socket.socket, target: socket.socket, lost: threading.Event, loses: threading.Event
    ) -> None:
        """Carry bytes one way; once a connection has lost any it carries no more."""
        with suppress(OSError):
            while found := source.recv(65_536):
                if self._swallows.is_set() or loses.is_set() or lost.is_set():
                    lost.set()
                    self._lose(found)
                else:
                    target.sendall(found)
        if not lost.is_set():
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
