"""A set of workers in a job of its own, as far as its way to a driver: here without workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from anabranch.clusters.certificates import new_certificate
from anabranch.clusters.joining import End, Guest, run
from anabranch.clusters.node import Orders
from anabranch.clusters.rendezvous import Rendezvous, both_show

GUEST = Guest("pilot-2.9.0", 2, "9_2")


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orders:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a set has a process of its own, and changes this
    return Orders(str(tmp_path / "driver.json"), "9.0", 1)


def written(orders: Orders, port: int = 0, engine: str = "") -> Rendezvous:
    """A file as a driver writes it; without an engine: the run is over."""
    certificate, key = new_certificate() if engine else ("", "")
    found = Rendezvous((f"127.0.0.1:{port}",) if engine else (), certificate, key, "", engine)
    found.write(Path(orders.file))
    return found


def test_a_run_that_is_over_needs_no_set(orders: Orders) -> None:
    written(orders)
    assert run(orders, GUEST, 30.0) == (End.OVER, "")


def test_a_set_gives_up_where_no_driver_comes(orders: Orders) -> None:
    end, why = run(orders, GUEST, 0.0)
    assert end is End.ALONE
    assert why == f"no driver was there within 0 s: there is no {orders.file}"


def test_a_set_does_not_wait_beyond_the_end_of_its_job(orders: Orders) -> None:
    assert run(orders, GUEST._replace(until=1.0), 300.0).end is End.ALONE


def test_a_driver_that_does_not_answer_is_no_driver(orders: Orders) -> None:
    """A killed one leaves its file behind."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    written(orders, port, "dask")
    end, why = run(orders, GUEST, 0.0)
    assert end is End.ALONE
    assert f"does not reach the driver at any of 127.0.0.1:{port}" in why


def test_a_set_that_is_to_end_while_it_waits_ends(orders: Orders) -> None:
    """Slurm's signal comes while there is no driver."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    mine = signal.getsignal(signal.SIGTERM)

    def end() -> None:
        while signal.getsignal(signal.SIGTERM) is mine and not over.wait(0.01):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    over = threading.Event()
    ending = threading.Thread(target=end)
    try:
        ending.start()
        assert run(orders, GUEST, 60.0) == (End.LEFT, "the job was ended before a driver was there")
    finally:
        over.set()
        ending.join()
        signal.signal(signal.SIGTERM, before)


def test_what_a_set_says_of_itself(orders: Orders, tmp_path: Path) -> None:
    """To a hub that goes away at once: the set looks for a driver until its patience ends."""
    heard: list[dict[str, Any]] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = written(orders, server.getsockname()[1], "dask")

        def hear() -> None:
            connection, _ = server.accept()
            with both_show(found, str(tmp_path), server=True).wrap_socket(connection, server_side=True) as line:
                heard.append(json.loads(line.recv(4096)))

        hearing = threading.Thread(target=hear)
        hearing.start()
        assert run(orders, GUEST._replace(until=4e9), 0.0).end is End.ALONE
        hearing.join()
    assert heard == [{"name": "pilot-2.9.0", "by": "127.0.0.1", "number": 2, "job": "9_2", "end": 4e9, "cpus": 1}]
