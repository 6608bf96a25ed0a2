"""The page at which Prometheus reads numbers: a server with one text, at / and /metrics."""

from __future__ import annotations

import http.server
from typing import TYPE_CHECKING

from anabranch.core.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable


def server(host: str, port: int, text: Callable[[], str]) -> http.server.ThreadingHTTPServer:
    """Return a server that listens, and answers once its `serve_forever` is called; raises OSError.

    Args:
        port: 0 takes a free one, `server_port` of what is returned.
        text: gives what is answered; called at each request, from a thread of it.
    """
    return _Server((host, port), text)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], text: Callable[[], str]) -> None:
        super().__init__(address, _Handler)
        self.text = text


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path.split("?")[0] not in ("/", "/metrics"):
            self.send_error(404)
            return
        body = self.server.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...
