"""The lines between the driver's node and the sets of workers: where to go, and a sign that the driver is there.

    set ----- hello: its name, the address by which it came -----> hub
        <---- go: where the engine's own server listens ----------
        ----- up: its workers are there; trouble: text ---------->
        ----- told: a signal that the driver may not have had --->
        <==== the line stands as long as the driver lives ========

    A set of another job says in its hello when that ends; `guests.py` has what follows from it.
        ----- leaving: its job is being ended ------------------->
        <---- leave: nothing runs on it any more -----------------

A line that breaks ends the set, so no worker outlives its driver, however it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from anabranch.clusters.guests import Guest

BACKLOG = 4096  # sets that connect at the same moment
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a node without power is noticed after 30 s
HELLO_SECONDS = 30.0
TRY_SECONDS = 5.0  # for one address


class Hub:
    """The driver's end of all lines.

    Args:
        go: says where the engine listens, once it does, for a set that came by this address of this machine.
        told: takes the troubles of sets, each with the set's name.
        signalled: called when SIGTERM has reached a set: Slurm tells steps of a preemption, and the script only later.
        welcome: returns what stands for a set of another job, by its hello and a way to write to it; None for others.
    """

    def __init__(
        self,
        go: Callable[[str], Awaitable[str]],
        told: Callable[[str, str], None],
        signalled: Callable[[], None] = lambda: None,
        welcome: Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], Guest | None] = lambda hello, say: None,
    ) -> None:
        self._go = go
        self._told = told
        self._signalled = signalled
        self._welcome = welcome
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
        guest: Guest | None = None
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), HELLO_SECONDS))
            name = str(hello["name"])
            guest = self._welcome(hello, partial(_write, writer))
            self._lines[writer] = name
            _write(writer, {"go": await self._go(str(hello["by"]))})
            while line := await reader.readline():
                self._hear(name, guest, json.loads(line))
        except (OSError, ValueError, KeyError, TimeoutError):  # a program that is no set, or has gone
            pass
        finally:
            self._lines.pop(writer, None)
            if guest is not None:
                guest.gone()
            await closed(writer)

    def _hear(self, name: str, guest: Guest | None, message: dict[str, Any]) -> None:
        if "up" in message:
            self.up += 1
            if guest is not None:
                guest.up()
        elif "leaving" in message and guest is not None:
            guest.leaving(float(message["leaving"]))
        elif "told" in message:
            self._signalled()
        elif guest is not None:
            guest.trouble(str(message["trouble"]))
        else:
            self._told(name, str(message["trouble"]))

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
        cls, name: str, addresses: Iterable[str], context: ssl.SSLContext, seconds: float, patience: float,
        more: Mapping[str, Any] | None = None,
    ) -> Line:  # fmt: skip
        """Connect by the first address that answers as ours does, and wait to be told where to go.

        Args:
            seconds: until all addresses are given up.
            patience: seconds until the engine has to be there.
            more: of the hello.

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
                    line._say({"name": name, "by": host, **(more or {})})
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

    def signalled(self) -> None:
        """Tell the driver that SIGTERM was sent to this set."""
        self._say({"told": "SIGTERM"})

    def leaving(self, seconds: float) -> None:
        """Tell the driver that this set's job ends in so many seconds."""
        self._say({"leaving": seconds})

    async def ended(self) -> dict[str, Any]:
        """Wait until the driver has gone, or lets this set go; returns what it said then, else nothing."""
        with contextlib.suppress(OSError, ValueError):
            while line := await self._reader.readline():
                told: dict[str, Any] = json.loads(line)
                if "leave" in told:
                    return told
        return {}

    def _say(self, message: dict[str, Any]) -> None:
        _write(self._writer, message)

    async def close(self) -> None:
        await closed(self._writer)


def _write(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")


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
