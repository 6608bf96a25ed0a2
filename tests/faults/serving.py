"""A server in a process of its own, which a test can kill and start again, with orders and agents at its address."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.beds import free_ports
from tests.faults import hurried
from tests.faults.ordering import SOON, Orders
from tests.integration.homes import PATIENCE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Server:
    """A server of a home of its own, always at the same port.

    Args:
        record: its place; "": a file in the home.
        hurry: its leases and pauses; see `tests/faults/hurried.py`.
    """

    def __init__(self, folder: Path, record: str = "", hurry: Mapping[str, object] = SOON) -> None:
        variables = {hurried.VARIABLE: json.dumps(dict(hurry))} | ({"ANABRANCH_RECORDS": record} if record else {})
        self.home = Home(folder, hurried.MODULE, **variables)
        # Below those that the system gives to clients: one of these may have it while the server is dead.
        self.port = free_ports(23000, 1)
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert self.home.start("--port", str(self.port)) == self.address

    def kill(self) -> None:
        assert self.home.server is not None
        self.home.server.kill()
        assert self.home.server.wait(PATIENCE) == -signal.SIGKILL

    def restart(self) -> None:
        self.kill()
        self.start()


@contextmanager
def served_orders(
    folder: Path, record: str = "", *, address: str = "", hurry: Mapping[str, object] = SOON,
    agents: Mapping[str, object] = SOON, **fields: Any,
) -> Iterator[tuple[Server, Orders]]:  # fmt: skip
    """A server during a block, and a home whose agents and drivers ask it.

    Args:
        address: where they do so; "": the server's own.
        agents: their leases and pauses.
        fields: of the deployments.
    """
    server = Server(folder / "server", record, hurry)
    try:
        server.start()
        orders = Orders(folder, where=address or server.address, hurried=agents, **fields)
        try:
            yield server, orders
        finally:
            orders.close()
    finally:
        server.home.end()
