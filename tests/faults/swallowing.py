"""A way to a server that at times swallows all: connections are taken and kept, and nothing comes back."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes bytes between its own port and a server's.

    Attributes:
        port: where it listens.
        swallowed: bytes that went nowhere.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.swallowed = 0
        self._swallows = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on pass nothing on, and close no connection."""
        self._swallows.set()

    def pass_on(self) -> None:
        """Pass on what comes by new connections; what went by those of before stays silent for ever."""
        self._swallows.clear()

    def close(self) -> None:
        self._listening.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(here)
            if self._swallows.is_set():
                continue
            there = socket.create_connection(("127.0.0.1", self._server))
            self._open.append(there)
            lost = threading.Event()
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=(source, target, lost), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, lost: threading.Event) -> None:
        """Carry bytes one way; once a connection has lost any it carries no more."""
        with suppress(OSError):
            while found := source.recv(65_536):
                if self._swallows.is_set() or lost.is_set():
                    lost.set()
                    self.swallowed += len(found)
                else:
                    target.sendall(found)
            if not lost.is_set():
                target.shutdown(socket.SHUT_WR)
