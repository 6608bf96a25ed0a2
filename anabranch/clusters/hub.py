"""The lines between the driver's node and the sets of workers: where to go, and a sign that the driver is there.

    set ----- hello: its name, the address by which it came -----> hub
        <---- go: where the engine's own server listens ----------
        ----- up: its workers are there; trouble: text ---------->
        <==== the line stands as long as the driver lives ========

A line that breaks ends the set, so no worker outlives its driver, however it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

BACKLOG = 4096  # sets that connect at the same moment
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a node without power is noticed after 30 s
HELLO_SECONDS = 30.0
TRY_SECONDS = 5.0  # for one address


class Hub:
    """The driver's end of all lines.

    Args:
        go: says where the engine listens, once it does, for a set that came by this address of this machine.
        told: takes the troubles of sets, each with the set's name.
    """

    def __init__(self, go: Callable[[str], Awaitable[str]], told: Callable[[str, str], None]) -> None:
        self._go = go
        self._told = told
        self._server: asyncio.Server | None = None
        self._lines: dict[asyncio.StreamWriter, str] = {}
        self.up = 0  # sets, ever, whose workers were there

    async def listen(self, host: str, context: ssl.SSLContext) -> int:
        """Begin to listen on a free port, and return it."""
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=context, backlog=BACKLOG)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep_alive(writer)
        name = ""
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), HELLO_SECONDS))
            name = str(hello["name"])
            self._lines[writer] = name
            writer.write(json.dumps({"go": await self._go(str(hello["by"]))}).encode() + b"\n")
            while line := await reader.readline():
                message = json.loads(line)
                if "up" in message:
                    self.up += 1
                else:
                    self._told(name, str(message["trouble"]))
        except (OSError, ValueError, KeyError, TimeoutError):  # a program that is no set, or has gone
            pass
        finally:
            self._lines.pop(writer, None)
            await closed(writer)

    async def close(self) -> None:
        """Cut all lines."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._lines):
            await closed(writer)


class Line:
    """A set's end of its line.

    Attributes:
        ours: this machine's address on the way to the hub.
        go: where the engine listens.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ours: str) -> None:
        self._reader = reader
        self._writer = writer
        self.ours = ours
        self.go = ""

    @classmethod
    async def reach(
        cls, name: str, addresses: Iterable[str], context: ssl.SSLContext, seconds: float, patience: float
    ) -> Line:
        """Connect by the first address that answers as ours does, and wait to be told where to go.

        Args:
            seconds: until all addresses are given up.
            patience: seconds until the engine has to be there.

        Raises:
            RunnerError: none of the addresses answered, or the hub went away.
        """
        loop = asyncio.get_running_loop()
        end, tried = loop.time() + seconds, list(addresses)
        while True:
            for address in tried:
                host, _, port = address.rpartition(":")
                with contextlib.suppress(OSError, TimeoutError):
                    opening = asyncio.open_connection(host, int(port), ssl=context, server_hostname="")
                    reader, writer = await asyncio.wait_for(opening, TRY_SECONDS)
                    line = cls(reader, writer, writer.get_extra_info("sockname")[0])
                    keep_alive(writer)
                    line._say({"name": name, "by": host})
                    told = await asyncio.wait_for(reader.readline(), patience)
                    if told:
                        line.go = str(json.loads(told)["go"])
                        return line
                    await closed(writer)
            if loop.time() >= end:
                raise RunnerError(
                    f"this node does not reach the driver at any of {', '.join(tried)}: a firewall or another network "
                    "is between them; name the network of the nodes with --interface"
                )
            await asyncio.sleep(1.0)

    def up(self) -> None:
        """Tell the driver that the workers are there."""
        self._say({"up": True})

    def trouble(self, text: str) -> None:
        """Tell the driver."""
        self._say({"trouble": text})

    async def ended(self) -> None:
        """Wait until the driver has gone."""
        with contextlib.suppress(OSError):
            while await self._reader.read(4096):
                pass

    def _say(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def close(self) -> None:
        await closed(self._writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection; the other end need not answer."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), TRY_SECONDS)


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the kernel notice when the other machine is gone without a word."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
