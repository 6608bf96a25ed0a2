"""Servers with TLS on this machine, whose certificates only those trust that are told to."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Certificate(NamedTuple):
    """Files of a certificate, signed by itself, for 127.0.0.1 and localhost."""

    path: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", made.path, "-keyout", made.key],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


@contextmanager
def served_with_tls(handler: type[BaseHTTPRequestHandler], certificate: Certificate) -> Iterator[str]:
    """Serve by a handler over TLS during the block; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def proxy_to(address: str, seen: list[str], cut: str = "") -> type[BaseHTTPRequestHandler]:
    """Return the handler of a proxy, as one that has TLS and passes requests on.

    Args:
        seen: takes the path of each request, as it came.
        cut: what it takes off the path's beginning.
    """
    host, _, port = address.removeprefix("http://").partition("/")[0].partition(":")

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            seen.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            headers |= {"X-Forwarded-For": self.client_address[0], "X-Forwarded-Proto": "https"}
            behind = http.client.HTTPConnection(host, int(port), timeout=60)
            behind.request(self.command, self.path.removeprefix(cut), body, headers)
            answer = behind.getresponse()
            data = answer.read()
            behind.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = pass_on

        def log_message(self, *_: Any) -> None: ...

    return Proxy
