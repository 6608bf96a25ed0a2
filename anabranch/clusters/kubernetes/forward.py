"""A way to a port of a pod from outside of its Kubernetes cluster: through the API server, as kubectl's port-forward.

    client --TCP--> 127.0.0.1:PORT --websocket--> API server --> kubelet --> pod:8786

Each connection has a websocket of its own. A new one asks which pod is ready now, so a scheduler that was replaced is
found again; a pause stands before each further try.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.kubernetes.api import KubernetesApi

log = logging.getLogger("anabranch.clusters")

PAUSES = (0.2, 1.0, 3.0)  # seconds between tries for one connection
BLOCK = 1 << 20
DATA = b"\x00"  # the channel of what is carried; odd channels carry errors
CHANNELS = 2  # the first message of each names the port


class Forward:
    """See the module's head.

    Args:
        pod: tells the name of the pod that is ready now, "" for none; it is called on the connection's loop.
        port: of the pod.
    """

    def __init__(self, api: KubernetesApi, namespace: str, pod: Callable[[], str], port: int) -> None:
        self._api = api
        self._namespace = namespace
        self._pod = pod
        self._port = port
        self._server: Any = None

    def start(self) -> str:
        """Begin to listen on loopback; returns the address."""
        return str(self._api.transport.run(self._listen()))

    def close(self) -> None:
        """Listen no more. Idempotent."""
        if self._server is not None:
            self._api.transport.run(self._end())

    async def _listen(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _end(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for pause in (*PAUSES, None):
                try:
                    if await self._carry(reader, writer):
                        return
                except Exception as error:  # kr8s and what is below it have many: none of them is the client's
                    log.info("the way to port %s of %s: %s", self._port, self._pod() or "no pod", error)
                if pause is None:
                    return
                await asyncio.sleep(pause)
        finally:
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Carry bytes both ways until one side ends; returns whether there was a way at all."""
        pod = self._pod()
        if not pod:
            return False
        api = await self._api.transport.connected()
        async with api.open_websocket(
            version="v1", namespace=self._namespace, url=f"pods/{pod}/portforward", params={"ports": str(self._port)}
        ) as socket:
            ways = [asyncio.ensure_future(_out(socket, reader)), asyncio.ensure_future(_back(socket, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        return True


async def _out(socket: Any, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(BLOCK):
            await socket.send_bytes(DATA + data)


async def _back(socket: Any, writer: asyncio.StreamWriter) -> None:
    heads = 0
    while True:
        message = await socket.receive_bytes()
        if heads < CHANNELS and len(message) == 3:
            heads += 1
        elif message[0] % 2 == 0:
            writer.write(message[1:])
            await writer.drain()
        else:
            return  # the pod's end has failed
