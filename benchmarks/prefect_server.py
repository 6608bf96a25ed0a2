"""Prefect's own server and worker, as its documentation starts them; used in the peers' environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import kill_tree
from benchmarks.service import WAIT, answers, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator


class PrefectServer:
    """A server on loopback with SQLite in a folder, its workers, and the settings with which programs find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
        self.settings = {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"{self.address}/api",
            "PREFECT_LOGGING_LEVEL": "ERROR",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def server(self) -> subprocess.Popen[bytes]:
        """Start it; it has answered nothing yet."""
        return self.start(self._words, {"PREFECT_API_URL": ""})

    def up(self) -> float:
        return until(lambda: answers(self.address, "/api/health"))

    def worker(self, pool: str, **settings: str) -> subprocess.Popen[bytes]:
        return self.start(["worker", "start", "--pool", pool, "--type", "process"], settings)

    def start(self, words: list[str], settings: dict[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *words], cwd=self.folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, **self.settings, **settings},
        )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, *words: str) -> None:
        """Run a command of Prefect to its end."""
        command = [sys.executable, "-m", "prefect", *words]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, env={**os.environ, **self.settings})

    def enter(self) -> None:
        """Have Prefect in this process find the server; before the first import of it."""
        if "prefect" in sys.modules:
            raise AssertionError("prefect was imported before it was told where its server is")
        os.environ.update(self.settings)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process and what it has started."""
        kill_tree(process.pid)
        process.wait(WAIT)

    def close(self) -> None:
        for process in reversed(self._started):
            self.end(process)


@contextmanager
def prefect_server() -> Iterator[PrefectServer]:
    """A server that has not been started."""
    with tempfile.TemporaryDirectory(prefix="anabranch-bench-", ignore_cleanup_errors=True) as folder:
        one = PrefectServer(Path(folder))
        try:
            yield one
        finally:
            one.close()
