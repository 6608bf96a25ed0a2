"""Servers of applications, on free ports of this machine, in a thread each."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from anabranch.core.clock import SYSTEM
from anabranch.records.served import ServedRecord
from anabranch.records.service.memory import memory_service
from anabranch.records.sqlite import SqliteRecords
from anabranch.server.app import make_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from anabranch.core.contracts import Clock


@contextmanager
def served(app: FastAPI, listening: socket.socket | None = None) -> Iterator[str]:
    """Serve an application during the block; gives its address. Connections are taken from the first moment on."""
    listening = listening or socket.create_server(("127.0.0.1", 0), backlog=128)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        app.state.world.waiting.close()
        server.should_exit = True
        thread.join(30)
        listening.close()


@contextmanager
def served_records(path: Path, clock: Clock = SYSTEM) -> Iterator[str]:
    """Serve the record in a SQLite file during the block; gives the address."""
    with SqliteRecords(path, clock=clock) as records:
        record = ServedRecord(records, clock=clock)
        try:
            with served(make_app(memory_service(), records=record, clock=clock)) as address:
                yield address
        finally:
            record.close()
