"""Homes of several people and programs: their commands, and a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.waiting import until

PATIENCE = 100.0  # seconds: a command on a machine with much else to do
ROOT = Path(__file__).resolve().parents[2]


class Home:
    """A home with its commands and its server.

    Args:
        module: stands for `anabranch` in `python -m anabranch`.
        environ: further variables of its programs.
    """

    def __init__(self, folder: Path, module: str = "anabranch", **environ: str) -> None:
        self.folder = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH_")}
        self.environ |= {"ANABRANCH_HOME": str(folder), **environ}
        self.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.server: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-m", module]
        self._told = folder.with_name(f"{folder.name}.said")  # by the server; a pipe would fill up

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *words]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=PATIENCE, **more)

    def start(self, *words: str) -> str:
        """Start the server, at any port where the words name none, and wait until it answers; gives its address."""
        command = [*self._command, "server", "start", "--port", "0", *words]
        with self._told.open("ab") as told:
            self.server = subprocess.Popen(command, env=self.environ, stderr=told)
        address: str = until(self._address, self.told, seconds=PATIENCE)
        with urlopen(f"{address}/api/v1/health", timeout=PATIENCE) as answer:  # it listens: the answer comes
            assert answer.status == 200
        return address

    def _address(self) -> str:
        """What the server's file says, once it is that of the process which was started."""
        assert self.server is not None
        if self.server.poll() is not None:
            raise AssertionError(f"no server: {self.told()}")
        try:
            found = json.loads((self.folder / "server.json").read_text())
        except (OSError, ValueError):
            return ""
        return str(found["address"]).replace("0.0.0.0", "127.0.0.1") if found["pid"] == self.server.pid else ""

    def told(self) -> str:
        """What the servers of this home have said."""
        return self._told.read_text("utf-8", "replace")

    def answers(self, address: str) -> bool:
        """Whether a server answers there within a few seconds."""
        try:
            with urlopen(f"{address}/api/v1/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def end(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait(PATIENCE)
