"""`anabranch metrics`: what the record has of flow runs, for Prometheus."""

from __future__ import annotations

import time

import click

from anabranch.cli import record
from anabranch.core import metrics_page
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
        server = metrics_page.server(host, port, lambda: _text(limit))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
    click.echo(f"http://{host}:{server.server_port}/metrics", err=True)
    with server:
        server.serve_forever()


def _text(limit: int) -> str:
    with record.opened() as records:
        return recorded_metrics.text(records, time.time(), limit)
