"""Servers, agents and databases that rows of the service start as users do, and kill."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.measure import kill_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.service import Service

WAIT = 300.0  # seconds for anything to happen
LOOK = 0.01  # seconds between two looks


def until(condition: Callable[[], object], seconds: float = WAIT) -> float:
    """Look until something is so; returns when it was.

    Raises:
        AssertionError: it did not come.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"it did not come in {seconds:g} s: {condition}")
        time.sleep(LOOK)
    return time.monotonic()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def answers(address: str, path: str) -> bool:
    """Whether a server answers a GET with 200."""
    parts = urlsplit(address)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


class Home:
    """A folder with a server of anabranch, its agents, and what they run.

    Args:
        records: the record of the server: "" for its home's SQLite file.
    """

    def __init__(self, folder: Path, records: str = "") -> None:
        self.folder, self.records = folder, records
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._started: list[subprocess.Popen[str]] = []

    def server(self) -> subprocess.Popen[str]:
        """Start the server at this home's port; it has answered nothing yet."""
        return self.start(["-m", "anabranch", "server", "start", "--port", str(self.port)], self.records)

    def agent(self, *options: str) -> subprocess.Popen[str]:
        return self.start(["-m", "anabranch", "agent", "start", *options])

    def start(self, words: list[str], records: str | None = None) -> subprocess.Popen[str]:
        """Start a Python program of this home, whose record is at the server unless another one is named."""
        environment = {
            **os.environ,
            "ANABRANCH_HOME": str(self.folder / "home"),
            "ANABRANCH_LOG_LEVEL": "ERROR",
            "ANABRANCH_RECORDS": self.address if records is None else records,
        }
        process = subprocess.Popen(
            [sys.executable, *words], cwd=self.folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def up(self) -> float:
        """Wait for the server's first answer; returns when it came."""
        return until(lambda: answers(self.address, "/api/v1/health"))

    @contextmanager
    def service(self) -> Iterator[Service]:
        """The service at the server."""
        from anabranch.records.service.remote import RemoteService

        with closing(RemoteService(self.address)) as service:
            yield service

    def close(self) -> None:
        for process in reversed(self._started):
            kill(process)


@contextmanager
def home(records: str = "") -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="anabranch-bench-") as folder:
        one = Home(Path(folder), records)
        try:
            yield one
        finally:
            one.close()


def kill(process: subprocess.Popen[Any]) -> float:
    """Kill a process with -9; returns when."""
    process.kill()
    now = time.monotonic()
    process.wait(WAIT)
    if process.stdout is not None:
        process.stdout.close()
    return now


class Postgres:
    """A PostgreSQL of one's own with the settings that it comes with, at a free port of this machine.

    Root may not run it, so it belongs to `nobody` then. All of its processes are killed at once, as an end of its
    machine's service does: left alone, the ones that remain would hold a new one back.
    """

    def __init__(self, folder: Path) -> None:
        found = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), default=None)
        where = shutil.which("initdb")
        if found is None and where is None:
            raise RuntimeError("this machine has no PostgreSQL: no initdb in /usr/lib/postgresql or on the PATH")
        self._programs = found or Path(str(where)).parent
        self._data, self.port = folder / "data", free_port()
        self.address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self._user: dict[str, Any] = {} if os.geteuid() else nobody
        self._data.mkdir(mode=0o700)
        if self._user:
            folder.chmod(0o755)
            shutil.chown(self._data, "nobody", "nogroup")
        words = [self._programs / "initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        subprocess.run(words, cwd="/", check=True, capture_output=True, **self._user)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may not answer yet."""
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""}
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._data, *given], cwd="/", start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._user,
        )  # fmt: skip

    def up(self) -> float:
        ready = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return until(lambda: subprocess.run(ready).returncode == 0)

    def kill(self) -> float:
        """Kill all of its processes; returns when."""
        if self._process is None:
            return time.monotonic()
        # Each connection's process is in a session of its own, so the group is not all.
        kill_tree(self._process.pid)
        now = time.monotonic()
        self._process.wait(WAIT)
        self._process = None
        return now


@contextmanager
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="anabranch-bench-", ignore_cleanup_errors=True) as folder:
        one = Postgres(Path(folder))
        try:
            one.start()
            one.up()
            yield one
        finally:
            one.kill()
