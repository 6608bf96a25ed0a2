"""A server as a process: what it may bind, its file in the home, its signals, its end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread
import uvicorn

from anabranch.core.errors import ConfigurationError
from anabranch.records.served import ServedRecord
from anabranch.server import running
from anabranch.server.app import make_app
from anabranch.services.loop import Services

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from fastapi import FastAPI

    from anabranch.core.access import Keys
    from anabranch.records.recorder import Recorder
    from anabranch.records.service.direct import DirectService

GRACE = 3  # seconds that open requests have after SIGTERM
TICK = 1.0  # seconds between two looks at the clock, for the date in answers
KEEP = 75  # seconds for which a connection without a request stays open: longer than clients keep theirs
THREADS = 16  # requests in the database at once


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a server listens, and what it may assume about the way there.

    Attributes:
        behind_proxy: a proxy of ours has TLS and is the only one that reaches it.
        insecure: keys may travel in the clear.
        certificate, certificate_key: files of TLS.
    """

    host: str = "127.0.0.1"
    port: int = 4200
    base_path: str = ""
    behind_proxy: bool = False
    insecure: bool = False
    certificate: str = ""
    certificate_key: str = ""

    @property
    def here_only(self) -> bool:
        """Whether only this machine can reach it."""
        return not self.behind_proxy and _is_loopback(self.host)

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{host}:{self.port}{self.base_path.rstrip('/')}"


def check(binding: Binding, keys: Keys) -> None:
    """See that only those with a key are let in, on a way that hides it.

    Raises:
        ConfigurationError: others can reach the server, and it has no key, or keys would travel in the clear.
    """
    if binding.here_only:
        return
    at = "behind a proxy" if binding.behind_proxy else f"at {binding.host}, which others can reach,"
    if not keys.any():
        raise ConfigurationError(
            f"a server {at} needs a key first: `anabranch key create NAME --role admin` makes and shows one"
        )
    if not (binding.certificate or binding.behind_proxy or binding.insecure):
        raise ConfigurationError(
            f"a server {at} would send keys in the clear: give --certificate and --certificate-key, or --behind-proxy "
            "where a proxy does TLS, or --insecure where the network is trusted"
        )


def listening(binding: Binding) -> socket.socket:
    """Return the socket of a server. Raises ConfigurationError: it is in use, or no address of this machine."""
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    try:
        taken = socket.create_server((binding.host, binding.port), family=family, backlog=2048)
        # Connections inherit it. Without it the second piece of an answer waits 40 ms for the kernel of the client.
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return taken
    except OSError as error:
        where = f"{binding.host}:{binding.port}"
        raise ConfigurationError(
            f"cannot listen at {where}: {error.strerror or error}; `anabranch server status` shows a server of this "
            "home, and --port takes another port"
        ) from None


class Process(uvicorn.Server):
    """A server that ends within seconds though agents wait: they are answered, with nothing, and go elsewhere."""

    def __init__(self, app: FastAPI, binding: Binding) -> None:
        self.ended_by = 0  # a signal
        self._end = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = app.state.world.waiting
        super().__init__(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", server_header=False,
                timeout_graceful_shutdown=GRACE, timeout_keep_alive=KEEP, proxy_headers=binding.behind_proxy,
                ssl_certfile=binding.certificate or None, ssl_keyfile=binding.certificate_key or None,
            )
        )  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await super().startup(sockets)

    async def main_loop(self) -> None:
        """Tick once a second, for the date in answers, and at the end at once; uvicorn's own loop wakes ten times."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), TICK)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order; at the second signal at once. uvicorn's own would raise the signal again at the end."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self.ended_by = sig
        self._waiting.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end.set)


def serve(
    service: DirectService, records: Recorder, binding: Binding, taken: socket.socket, home: Path, version: str, *,
    steps: bool = True,
) -> int:  # fmt: skip
    """Serve service and record until a signal ends it, and return that signal; the home says so meanwhile.

    Args:
        records: in the database of the service.
        taken: the socket, of `listening`.
        steps: whether the steps of the service are taken here too.

    Raises:
        ConfigurationError: as of `check`.
    """
    check(binding, service.keys)
    record = ServedRecord(records)
    app = make_app(
        service, keys=service.keys, records=record, version=version, base_path=binding.base_path,
        here_only=binding.here_only,
    )  # fmt: skip
    services = Services(service) if steps else None
    file = running.note(home, binding.address)
    try:
        if services is not None:
            services.start()
        process = Process(app, binding)
        process.run([taken])
        return process.ended_by
    finally:
        file.unlink(missing_ok=True)
        record.close()
        if services is not None:
            _stop(services)


def _stop(services: Services) -> None:
    """End the steps; one that takes longer than requests may is cut off: it rolls back, and others repeat it."""
    ending = threading.Thread(target=services.stop, daemon=True)
    ending.start()
    ending.join(GRACE)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
