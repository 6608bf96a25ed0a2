"""A map of a million with its record at a server on this machine, beside one that writes its record itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import (
    expect_sum,
    flush,
    in_flow,
    inc,
    recorded_seconds,
    reset_peak,
    runner_of,
    seconds_of,
    status_bytes,
)
from benchmarks.prefect_server import prefect_server
from benchmarks.rows import Bar, Figures, Row
from benchmarks.service import free_port
from benchmarks.systems import prefect3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.systems import FanOut

SECONDS = 60.0  # for a server to start, and for rows to arrive
SERVER = """
import sys, uvicorn
from anabranch.records.served import ServedRecord
from anabranch.records.service.memory import memory_service
from anabranch.records.sqlite import SqliteRecords
from anabranch.server.app import make_app
app = make_app(memory_service(), records=ServedRecord(SqliteRecords(sys.argv[1])))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", lifespan="off", access_log=False)
"""


@contextmanager
def serving(path: Path, port: int) -> Iterator[float]:
    """A server of the record at a path, in a process of its own; gives the time of its first answer."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(path), str(port)])
    try:
        end = time.monotonic() + SECONDS
        while True:
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > end:
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        yield time.monotonic()
    finally:
        process.terminate()
        process.wait(SECONDS)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def count(quick: bool) -> int:
    return 100_000 if quick else 1_000_000


def mapped(quick: bool) -> Figures:
    """A map on threads, up to the record's last commit, or until that is given up."""
    from anabranch import task

    n = count(quick)
    one = task(inc)

    def body() -> Figures:
        base = status_bytes("VmRSS")
        reset_peak()
        seconds = recorded_seconds(lambda: expect_sum(one.map(range(n)).result(), n))
        return {"wall_s": seconds, "rate": n / seconds, "grows_mb": (status_bytes("VmHWM") - base) / 1e6}

    return in_flow(runner_of("threads"), body)


def here(quick: bool) -> Figures:
    return mapped(quick)


def over_http(quick: bool) -> Figures:
    with folder() as place, serving(place / "served.db", port := free_port()):
        os.environ["ANABRANCH_RECORDS"] = f"http://127.0.0.1:{port}"
        figures = mapped(quick)
        flush()
        return {**figures, "missing": missing(place / "served.db", quick)}


def away(quick: bool) -> Figures:
    """The server begins once the run has ended."""
    from anabranch import session

    port = free_port()
    os.environ["ANABRANCH_RECORDS"] = f"http://127.0.0.1:{port}"
    figures = mapped(quick)
    with folder() as place, serving(place / "served.db", port) as contact:
        if not session.current().records.publish(SECONDS):
            raise RuntimeError("the rows did not arrive")
        figures["delivered_s"] = time.monotonic() - contact
        return {**figures, "missing": missing(place / "served.db", quick)}


def prefect(quick: bool) -> Figures:
    """A thousand items with Prefect, whose server is on this machine; its clock does not wait for the last row."""
    with prefect_server() as place:
        place.server()
        place.up()
        place.enter()
        return prefect3.threads(lambda fan_out, _: _timed(fan_out, 100 if quick else 1_000))


def _timed(fan_out: FanOut, n: int) -> Figures:
    expect_sum(fan_out(10), 10)
    base = status_bytes("VmRSS")
    reset_peak()
    seconds = seconds_of(lambda: expect_sum(fan_out(n), n))
    return {"rate": n / seconds, "grows_mb": (status_bytes("VmHWM") - base) / 1e6}


def missing(path: Path, quick: bool) -> float:
    """Items of the map that are not in the served record."""
    from anabranch.records.blocks import decode
    from anabranch.records.sqlite import SqliteRecords

    with SqliteRecords(path) as records, records.database.opened() as db:
        largest: list[int] = [0]
        for (map,) in db.execute("SELECT id FROM maps").fetchall():
            blobs = db.execute("SELECT data FROM item_blocks WHERE map = ?", (map,))
            largest.append(sum(decode(data).count for (data,) in blobs))
    return count(quick) - max(largest)


PREFECT = "Prefect 3, 1,000 items on two threads, its server with SQLite on this machine"
ROWS = (
    Row(
        "record_http", "map of 1M no-ops, threads, its record over HTTP", over_http,
        (
            Bar("wall_s", "s", ratio_at_most=1.1), Bar("rate", "items/s", at_least=300_000),
            Bar("grows_mb", "MB", ratio_at_most=1.5), Bar("missing", "items", at_most=0),
        ),
        peer=here, peer_name="its record in SQLite", others={PREFECT: prefect}, apart={PREFECT: "prefect"}, most=3,
        seconds=900.0,
    ),
    Row(
        "record_away", "the same, its server away until it has ended", away,
        (
            Bar("wall_s", "s", ratio_at_most=1.1), Bar("delivered_s", "s after contact", at_most=5),
            Bar("grows_mb", "MB"), Bar("missing", "items", at_most=0),
        ),
        peer=here, peer_name="its record in SQLite", most=3,
    ),
)  # fmt: skip
