"""`anabranch metrics`: what the record has of flow runs, for Prometheus."""

from __future__ import annotations

import http.server
import time

import click

from anabranch.cli import record
from anabranch.core.exposition import CONTENT_TYPE
from anabranch.display import recorded_metrics


@click.command("metrics")
@click.option("--port", type=click.IntRange(0, 65535), help="Answer at http://HOST:PORT/metrics until Ctrl-C; 0: any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that is listened on.")
@click.option("--limit", default=recorded_metrics.NEWEST, show_default=True, type=click.IntRange(min=1),
              help="Count the newest so many flow runs.")  # fmt: skip
def command(port: int | None, host: str, limit: int) -> None:
    """Print counts of recorded flow runs as Prometheus' text, for a collector of text files or, with --port, for it.

    \b
    anabranch metrics > /var/lib/node_exporter/anabranch.prom
    anabranch metrics --port 9464
    """
    if port is None:
        click.echo(_text(limit), nl=False)
        return
    try:
        server = _Server((host, port), limit)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
    click.echo(f"http://{host}:{server.server_port}/metrics", err=True)
    with server:
        server.serve_forever()


def _text(limit: int) -> str:
    with record.opened() as records:
        return recorded_metrics.text(records, time.time(), limit)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], limit: int) -> None:
        super().__init__(address, _Handler)
        self.limit = limit


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path.split("?")[0] not in ("/", "/metrics"):
            self.send_error(404)
            return
        body = _text(self.server.limit).encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...
