"""Homes of several people and programs: their commands, and a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0


class Home:
    """A home with its commands and its server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH_")}
        self.environ["ANABRANCH_HOME"] = str(folder)
        self.server: subprocess.Popen[str] | None = None

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "anabranch", *words]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=PATIENCE, **more)

    def start(self, *words: str) -> str:
        """Start the server at any port, and wait until it answers; gives its address."""
        command = [sys.executable, "-m", "anabranch", "server", "start", "--port", "0", *words]
        self.server = subprocess.Popen(command, env=self.environ, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + PATIENCE
        while self.run("server", "status").returncode:
            if self.server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"no server: {self.server.communicate(timeout=1)[1]}")
        found: str = json.loads(self.run("server", "status", "--json").stdout)["address"]
        return found

    def end(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.communicate()
